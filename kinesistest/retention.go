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
	if in.RetentionPeriodHours == nil {
		c.add("null", "retentionPeriodHours", "not be null")
	}
	c.number(in.RetentionPeriodHours, "retentionPeriodHours", 1, 1<<31-1)
}

func (s *Server) increaseRetention(in *retentionInput, now time.Time) (any, *Fault) {
	return s.changeRetention(in, now, func(st *stream, hours, current int) *Fault {
		if hours >= current {
			return nil
		}
		return invalid("Requested retention period (%d hours) for stream %s can not be shorter than existing retention period "+
			"(%d hours). Use DecreaseRetentionPeriod API.", hours, st.name, current)
	})
}

func (s *Server) decreaseRetention(in *retentionInput, now time.Time) (any, *Fault) {
	return s.changeRetention(in, now, func(st *stream, hours, current int) *Fault {
		if hours <= current {
			return nil
		}
		return invalid("Requested retention period (%d hours) for stream %s can not be longer than existing retention period "+
			"(%d hours). Use IncreaseRetentionPeriod API.", hours, st.name, current)
	})
}

func (s *Server) changeRetention(in *retentionInput, now time.Time, refuse func(*stream, int, int) *Fault) (any, *Fault) {
	hours := *in.RetentionPeriodHours
	if hours < int(defaultRetention/time.Hour) {
		return nil, invalid("Minimum allowed retention period is 24 hours. Requested retention period (%d hours) is too short.", hours)
	}
	if hours > int(maxRetention/time.Hour) {
		return nil, invalid("Maximum allowed retention period is 8760 hours. Requested retention period (%d hours) is too long.", hours)
	}
	st, f := s.active(in.ref())
	if f != nil {
		return nil, f
	}
	if f := refuse(st, hours, int(st.retention/time.Hour)); f != nil {
		return nil, f
	}
	st.begin(statusUpdating, now, s.opts.UpdateDelay, func(at time.Time) { st.setRetention(time.Duration(hours)*time.Hour, at) })
	return nil, nil
}
