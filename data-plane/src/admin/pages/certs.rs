//! `/certs`: certificates in use.

use super::super::json::{Object, pretty};
use super::super::reply::Reply;
use super::Call;

pub(super) fn page(call: &Call<'_>) -> Reply {
    Reply::json(pretty(&Object::default().set("certificates", call.state.certificates()).done()))
}
