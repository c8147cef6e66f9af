//! The formatter's verdict on formats, for the validation of configurations.

use super::format::Format;
use super::operator::FormatError;
use super::sink::Target;
use crate::config::access_log::AccessLogSink;
use crate::config::error::{Problems, Reason};
use crate::config::format::{FormatCheck, FormatConfig};

/// Checks formats by compiling them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Operators;

impl FormatCheck for Operators {
    fn check(&self, format: &FormatConfig) -> Result<(), Problems> {
        Format::compile(format).map(drop).map_err(|error| Reason::from(error).into())
    }
}

impl From<FormatError> for Reason {
    fn from(error: FormatError) -> Self {
        match error {
            FormatError::Unsupported(name) => {
                Self::NotSupported { what: format!("command operator %{name}%") }
            }
            other => Self::Rule(other.to_string()),
        }
    }
}

impl From<&AccessLogSink> for Target {
    fn from(sink: &AccessLogSink) -> Self {
        match sink {
            AccessLogSink::File(path) => Self::File(path.as_ref().into()),
            AccessLogSink::Stderr => Self::Stderr,
            AccessLogSink::Stdout => Self::Stdout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_operator_and_whether_envoy_knows_it() {
        let refused = |value| Operators.check_header_value(value).unwrap_err().to_string();
        assert_eq!(Operators.check_header_value("a %PROTOCOL% 100%%"), Ok(()));
        assert_eq!(
            refused("%UPSTREAM_WIRE_BYTES_SENT%"),
            "command operator %UPSTREAM_WIRE_BYTES_SENT% is known to Envoy 1.40, not supported here"
        );
        assert_eq!(refused("%FOO%"), "%FOO% is no command operator");
    }
}
