//! HTTP/1 of our own: sans-IO over `httparse`, server and client role from the same parts.
