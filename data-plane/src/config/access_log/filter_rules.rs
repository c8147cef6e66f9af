//! Which messages become a condition on an entry.

use proto::envoy::config::accesslog::v3 as pb;
use proto::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier as Specifier;
use proto::envoy::config::accesslog::v3::comparison_filter::Op;
use proto::envoy::r#type::v3::fractional_percent::DenominatorType;

use super::{AccessLogFilter, Comparison, ComparisonOp, OneOf, Sampling};
use crate::config::error::{At, Problems, Reason};
use crate::config::field;
use crate::config::route::match_rules::parse_header_matcher;

/// A condition on an entry.
///
/// # Errors
/// If it is of a kind that is not built, or not right.
pub fn parse(filter: pb::AccessLogFilter) -> Result<AccessLogFilter, Problems> {
    match filter.filter_specifier.ok_or(Reason::Missing)? {
        Specifier::StatusCodeFilter(f) => {
            parse_comparison(f.comparison).map(AccessLogFilter::StatusCode).at("status_code_filter")
        }
        Specifier::DurationFilter(f) => {
            parse_comparison(f.comparison).map(AccessLogFilter::Duration).at("duration_filter")
        }
        Specifier::NotHealthCheckFilter(_) => Ok(AccessLogFilter::NotHealthCheck),
        Specifier::RuntimeFilter(f) => {
            parse_sampling(f).map(AccessLogFilter::Runtime).at("runtime_filter")
        }
        Specifier::AndFilter(f) => parse_all(f.filters).map(AccessLogFilter::And).at("and_filter"),
        Specifier::OrFilter(f) => parse_all(f.filters).map(AccessLogFilter::Or).at("or_filter"),
        Specifier::HeaderFilter(f) => parse_header(f).at("header_filter"),
        Specifier::ResponseFlagFilter(f) => {
            let flags = f.flags.into_iter().map(Into::into).collect();
            Ok(AccessLogFilter::ResponseFlag(flags))
        }
        Specifier::GrpcStatusFilter(f) => {
            Ok(AccessLogFilter::GrpcStatus(one_of(&f.statuses, f.exclude)))
        }
        Specifier::LogTypeFilter(f) => Ok(AccessLogFilter::LogType(one_of(&f.types, f.exclude))),
        // Whether a request is traced is decided by a tracer, which there is none of.
        Specifier::TraceableFilter(_) => refused("traceable_filter"),
        Specifier::MetadataFilter(_) => refused("metadata_filter"),
        Specifier::ExtensionFilter(_) => refused("extension_filter"),
    }
}

fn refused<T>(kind: &str) -> Result<T, Problems> {
    Err(Reason::NotSupported { what: format!("access log filter {kind}") }.into())
}

fn parse_all(list: Vec<pb::AccessLogFilter>) -> Result<Vec<AccessLogFilter>, Problems> {
    let list = list.into_iter().enumerate();
    list.map(|(i, filter)| parse(filter).at_index("filters", i)).collect()
}

fn parse_comparison(comparison: Option<pb::ComparisonFilter>) -> Result<Comparison, Problems> {
    let comparison = field::required(comparison, "comparison")?;
    let op = match field::enumeration(comparison.op, "op").at("comparison")? {
        Op::Eq => ComparisonOp::Eq,
        Op::Ge => ComparisonOp::Ge,
        Op::Le => ComparisonOp::Le,
        Op::Ne => ComparisonOp::Ne,
    };
    let value = field::required(comparison.value, "value").at("comparison")?;
    Ok(Comparison { op, value: value.default_value, runtime_key: value.runtime_key.into() })
}

/// Without `percent_sampled` the default is 0 of 100.
fn parse_sampling(filter: pb::RuntimeFilter) -> Result<Sampling, Problems> {
    let share = filter.percent_sampled.unwrap_or_default();
    let denominator = field::enumeration(share.denominator, "denominator").at("percent_sampled")?;
    Ok(Sampling {
        runtime_key: filter.runtime_key.into(),
        denominator: match denominator {
            DenominatorType::Hundred => 100,
            DenominatorType::TenThousand => 10_000,
            DenominatorType::Million => 1_000_000,
        },
        numerator: share.numerator,
        independent: filter.use_independent_randomness,
    })
}

fn parse_header(filter: pb::HeaderFilter) -> Result<AccessLogFilter, Problems> {
    let header = field::required(filter.header, "header")?;
    let matcher = parse_header_matcher(header).at("header")?;
    Ok(AccessLogFilter::Header(Box::new(matcher)))
}

/// The rules of the messages let only known numbers through.
fn one_of(numbers: &[i32], exclude: bool) -> OneOf<u32> {
    let values = numbers.iter().filter_map(|number| u32::try_from(*number).ok()).collect();
    OneOf { values, exclude }
}
