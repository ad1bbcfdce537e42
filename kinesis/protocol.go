package kinesis

import (
	"context"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// pageProtocol is the SDK's own protocol, except that it gives a successful
// reply to take. It is put into the options of a single GetRecords call;
// signing, endpoints and the decoding of errors stay the SDK's.
type pageProtocol struct {
	smithyhttp.ClientProtocol
	take func(*smithyhttp.Response) error
}

// DeserializeResponse implements [smithyhttp.ClientProtocol].
func (p *pageProtocol) DeserializeResponse(ctx context.Context, schema *smithy.OperationSchema, types *smithy.TypeRegistry,
	resp *smithyhttp.Response, out smithy.Deserializable,
) error {
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return p.ClientProtocol.DeserializeResponse(ctx, schema, types, resp, out)
	}
	return p.take(resp)
}
