//! Sans-IO: the xDS protocol as a state machine, in both variants.

mod message;

pub use message::{
    AbsentReason, Cause, Changed, Decode, Decoded, DeltaRequest, Event, Input, RawResource,
    Rejected, Request, ResourceError, Response, SotwRequest, Subscribe, Update,
};
