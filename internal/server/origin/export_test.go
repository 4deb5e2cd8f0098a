package origin

import "context"

// Settle does at once what otherwise waits until the module is idle.
func (o *Origin) Settle(ctx context.Context) { o.capture.drain(ctx) }
