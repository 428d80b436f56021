"""Back ends: what answers a conversation, a model of our own or a server over HTTP."""
