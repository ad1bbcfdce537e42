package kinesistest

import "time"

// IncreaseStreamRetentionPeriod and DecreaseStreamRetentionPeriod: whole hours,
// 24 to 8760. A shorter retention trims at once; a longer one brings nothing
// back.

type retentionInput struct {
	streamRef
	RetentionPeriodHours *int
}

func (in *retentionInput) check(c *checks) {
	c.stream(&in.streamRef)
	c.requiredNumber(in.RetentionPeriodHours, "retentionPeriodHours", 1, 1<<31-1)
}

func (s *Server) increaseRetention(in *retentionInput, now time.Time) (any, *Fault) {
	return s.changeRetention(in, now, +1, "shorter", "Decrease")
}

func (s *Server) decreaseRetention(in *retentionInput, now time.Time) (any, *Fault) {
	return s.changeRetention(in, now, -1, "longer", "Increase")
}

// changeRetention refuses a change against sign, naming the other operation.
func (s *Server) changeRetention(in *retentionInput, now time.Time, sign int, against, other string) (any, *Fault) {
	hours := *in.RetentionPeriodHours
	if hours < int(defaultRetention/time.Hour) {
		return nil, invalid("Minimum allowed retention period is 24 hours. "+
			"Requested retention period (%d hours) is too short.", hours)
	}
	if hours > int(maxRetention/time.Hour) {
		return nil, invalid("Maximum allowed retention period is 8760 hours. "+
			"Requested retention period (%d hours) is too long.", hours)
	}
	st, f := s.active(in.ref())
	if f != nil {
		return nil, f
	}
	current := int(st.retention / time.Hour)
	if sign*(hours-current) < 0 {
		return nil, invalid("Requested retention period (%d hours) for stream %s can not be %s than existing "+
			"retention period (%d hours). Use %sRetentionPeriod API.", hours, st.name, against, current, other)
	}
	st.begin(statusUpdating, now, s.opts.UpdateDelay, func(at time.Time) {
		st.setRetention(time.Duration(hours)*time.Hour, at)
	})
	return nil, nil
}

// UpdateMaxRecordSize: how large a record may be, its partition key included: 1
// MiB by default, 10 MiB at most.

type updateMaxRecordSizeInput struct {
	streamRef
	MaxRecordSizeInKiB *int
}

func (in *updateMaxRecordSizeInput) check(c *checks) {
	c.stream(&in.streamRef)
	c.requiredNumber(in.MaxRecordSizeInKiB, "maxRecordSizeInKiB", 1024, 10240)
}

func (s *Server) updateMaxRecordSize(st *stream, in *updateMaxRecordSizeInput, now time.Time) (any, *Fault) {
	bytes := *in.MaxRecordSizeInKiB << 10
	st.begin(statusUpdating, now, s.opts.UpdateDelay, func(time.Time) { st.maxRecord = bytes })
	return nil, nil
}
