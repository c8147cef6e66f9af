//! HTTP/2, both roles, on the `h2` crate itself and not through hyper, which hides 1xx answers,
//! writes as capacity allows without telling, and gives receive windows back on its own.
