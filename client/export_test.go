package client

// OwnGrants is how many own devices gave this one leave to deliver.
func (c *Client) OwnGrants() int {
	k, err := c.keep.Contact(c.self)
	if err != nil {
		return 0
	}
	return len(k.Grants)
}
