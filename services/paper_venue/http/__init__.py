"""What every part of the HTTP API shares: requests, replies, authentication, and the JSON that the venue sends."""
