package client

// OwnGrants is how many own devices gave this one leave to deliver.
func (c *Client) OwnGrants() int {
	k, err := c.keep.Contact(c.self)
	if err != nil {
		return 0
	}
	return len(k.Grants)
}

// ConnectionDone is closed when the call's connection has ended, which the call may outlast.
func (call *Call) ConnectionDone() <-chan struct{} {
	call.mu.Lock()
	defer call.mu.Unlock()
	return call.peer.Done()
}
