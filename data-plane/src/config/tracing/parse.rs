//! Which messages become tracing.

use std::sync::Arc;

use http::HeaderValue;
use proto::envoy::config::core::v3::TypedExtensionConfig;
use proto::envoy::config::route::v3 as route;
use proto::envoy::config::trace::v3::tracing::Http as Provider;
use proto::envoy::config::trace::v3::tracing::http::ConfigType;
use proto::envoy::config::trace::v3::{self as trace};
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as manager;
use proto::envoy::extensions::tracers::opentelemetry::samplers::v3 as pb_samplers;
use proto::envoy::r#type::tracing::v3::custom_tag::Type;
use proto::envoy::r#type::tracing::v3::{self as tag};
use proto::envoy::r#type::v3::fractional_percent::DenominatorType;
use proto::envoy::r#type::v3::{FractionalPercent, Percent};

use super::{
    CustomTag, Decorator, OpenTelemetryConfig, Propagation, RouteTracing, Sampler, Sampling,
    SpanNames, TagValue, TracingConfig, support,
};
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::extension;
use crate::config::field;
use crate::config::resource::ParseCx;
use crate::config::route::RuntimeFraction;
use crate::config::source;

/// In front of the names of samplers' messages.
const SAMPLERS: &str = "envoy.extensions.tracers.opentelemetry.samplers.v3.";

/// Most samplers around each other.
const SAMPLERS_MAX: usize = 8;

const MESSAGE: &str = "envoy.config.trace.v3.OpenTelemetryConfig";
const PATH_TAG_LENGTH: u32 = 256;
const CACHE_SIZE: u32 = 1024;

const CLIENT: &str = "tracing.client_enabled";
const RANDOM: &str = "tracing.random_sampling";
const OVERALL: &str = "tracing.global_enabled";

/// `tracing` of a connection manager. Where it names no provider, the bootstrap's is asked.
///
/// # Errors
/// All that is wrong with it.
pub fn parse(
    message: manager::http_connection_manager::Tracing,
    cx: &ParseCx<'_>,
) -> Result<TracingConfig, Problems> {
    let mut all = Collector::default();
    let sampling = all.keep(parse_sampling(&message));
    let custom_tags = all.keep(parse_tags(message.custom_tags, cx));
    let names = all.keep(parse_names(&message.operation, &message.upstream_operation, cx));
    let provider = match message.provider {
        Some(provider) => parse_provider(provider, cx).at("provider"),
        None => Ok(cx.tracer.cloned()),
    };
    let provider = all.keep(provider);
    all.finish()?;
    let (Some(sampling), Some(names)) = (sampling, names) else {
        return Err(Reason::Missing.into());
    };
    Ok(TracingConfig {
        sampling,
        max_path_tag_length: field::uint(message.max_path_tag_length, PATH_TAG_LENGTH),
        custom_tags: custom_tags.unwrap_or_default(),
        provider: provider.flatten(),
        spawn_upstream_span: field::flag(message.spawn_upstream_span, false),
        names,
        propagation: match message.no_context_propagation {
            true => Propagation::Off,
            false => Propagation::On,
        },
    })
}

/// `tracing` of a route.
///
/// # Errors
/// All that is wrong with it.
pub fn parse_route(message: route::Tracing, cx: &ParseCx<'_>) -> Result<RouteTracing, Problems> {
    let mut all = Collector::default();
    let client = all.keep(fraction(message.client_sampling, CLIENT).at("client_sampling"));
    let random = all.keep(fraction(message.random_sampling, RANDOM).at("random_sampling"));
    let overall = all.keep(fraction(message.overall_sampling, OVERALL).at("overall_sampling"));
    let custom_tags = all.keep(parse_tags(message.custom_tags, cx));
    let names = all.keep(parse_names(&message.operation, &message.upstream_operation, cx));
    all.finish()?;
    let (Some(client), Some(random), Some(overall)) = (client, random, overall) else {
        return Err(Reason::Missing.into());
    };
    Ok(RouteTracing {
        sampling: Sampling { client, random, overall },
        custom_tags: custom_tags.unwrap_or_default(),
        names: names.unwrap_or_default(),
    })
}

/// `decorator` of a route.
#[must_use]
pub fn parse_decorator(message: route::Decorator) -> Decorator {
    Decorator {
        header: HeaderValue::from_str(&message.operation).ok(),
        operation: message.operation.into(),
        propagate: field::flag(message.propagate, true),
    }
}

/// A provider, of a manager or of the bootstrap. A tracer of Envoy's that is not built is none: it
/// tells nobody anything that changes a request, so its fields are accepted with a warning.
///
/// # Errors
/// It is no tracer of Envoy's, or not whole.
pub fn parse_provider(
    provider: Provider,
    cx: &ParseCx<'_>,
) -> Result<Option<Arc<OpenTelemetryConfig>>, Problems> {
    let Some(ConfigType::TypedConfig(any)) = provider.config_type else {
        let unknown = extension::unknown("tracer", &provider.name, "");
        return Err(Problems::from(unknown)).at("typed_config");
    };
    let parsed = extension::open_checked(&any, cx).and_then(|opened| {
        if support::OTHER_TRACERS.iter().any(|(message, ..)| *message == opened.message) {
            return Ok(None);
        }
        if opened.message != MESSAGE {
            return Err(extension::unknown("tracer", &provider.name, &opened.message).into());
        }
        parse_open_telemetry(extension::message(&opened.body)?, cx)
            .map(|config| Some(Arc::new(config)))
    });
    parsed.at("typed_config")
}

fn parse_open_telemetry(
    message: trace::OpenTelemetryConfig,
    cx: &ParseCx<'_>,
) -> Result<OpenTelemetryConfig, Problems> {
    for (present, name) in [
        (message.http_service.is_some(), "http_service"),
        (message.exporter.is_some(), "exporter"),
        (!message.resource_detectors.is_empty(), "resource_detectors"),
    ] {
        field::refuse(present, name)?;
    }
    // Envoy insists on one of the three as well.
    let service = field::required(message.grpc_service, "grpc_service")?;
    let name = match message.service_name.as_str() {
        "" => "unknown_service:envoy",
        name => name,
    };
    let sampler = message.sampler.map(|sampler| parse_sampler(sampler, SAMPLERS_MAX, cx));
    let named = field::flag(message.set_service_name_resource_attribute, true);
    Ok(OpenTelemetryConfig {
        service: source::parse_service(service).at("grpc_service")?,
        service_name: named.then(|| name.into()),
        sdk_attributes: field::flag(message.set_telemetry_sdk_resource_attributes, true),
        scope: field::flag(message.set_instrumentation_scope, true),
        max_cache_size: field::uint(message.max_cache_size, CACHE_SIZE),
        sampler: sampler.transpose().at("sampler")?,
    })
}

/// A sampler; one may be around another, `depth` of them at most.
fn parse_sampler(
    sampler: TypedExtensionConfig,
    depth: usize,
    cx: &ParseCx<'_>,
) -> Result<Sampler, Problems> {
    let Some(depth) = depth.checked_sub(1) else {
        let text = format!("more than {SAMPLERS_MAX} samplers around each other");
        return Err(Reason::Rule(text).into());
    };
    let any = field::required(sampler.typed_config, "typed_config")?;
    let parsed = extension::open_checked(&any, cx).and_then(|opened| {
        let kind = opened.message.strip_prefix(SAMPLERS).unwrap_or_default();
        match kind {
            "AlwaysOnSamplerConfig" => Ok(Sampler::AlwaysOn),
            "ParentBasedSamplerConfig" => {
                let message: pb_samplers::ParentBasedSamplerConfig =
                    extension::message(&opened.body)?;
                let inner = field::required(message.wrapped_sampler, "wrapped_sampler")?;
                let inner = parse_sampler(inner, depth, cx).at("wrapped_sampler")?;
                Ok(Sampler::ParentBased(Box::new(inner)))
            }
            "TraceIdRatioBasedSamplerConfig" => {
                let message: pb_samplers::TraceIdRatioBasedSamplerConfig =
                    extension::message(&opened.body)?;
                let share = message.sampling_percentage.unwrap_or_default();
                let share = fraction(Some(share), "").at("sampling_percentage")?;
                let RuntimeFraction { numerator, denominator, .. } = share;
                Ok(Sampler::TraceIdRatio { numerator, denominator })
            }
            _ => Err(extension::unknown("sampler", &sampler.name, &opened.message).into()),
        }
    });
    parsed.at("typed_config")
}

/// Envoy cuts the client's share to whole percents, and rounds the others to hundredths of one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
fn parse_sampling(
    message: &manager::http_connection_manager::Tracing,
) -> Result<Sampling, Problems> {
    let percent = |value: Option<Percent>, name| field::percent(value, 100.0, name);
    let share = |key: &str, numerator, denominator| RuntimeFraction {
        key: key.into(),
        numerator,
        denominator,
    };
    let client = percent(message.client_sampling, "client_sampling")? as u32;
    let hundredths = |value: f64| (value * 100.0).round() as u32;
    let random = hundredths(percent(message.random_sampling, "random_sampling")?);
    let overall = hundredths(percent(message.overall_sampling, "overall_sampling")?);
    Ok(Sampling {
        client: share(CLIENT, client, 100),
        random: share(RANDOM, random, 10_000),
        overall: share(OVERALL, overall, 10_000),
    })
}

/// A route's share; all, where it says nothing.
fn fraction(share: Option<FractionalPercent>, key: &str) -> Result<RuntimeFraction, Problems> {
    let share = share.unwrap_or(FractionalPercent { numerator: 100, denominator: 0 });
    Ok(RuntimeFraction {
        key: key.into(),
        numerator: share.numerator,
        denominator: match field::enumeration(share.denominator, "denominator")? {
            DenominatorType::Hundred => 100,
            DenominatorType::TenThousand => 10_000,
            DenominatorType::Million => 1_000_000,
        },
    })
}

fn parse_names(operation: &str, upstream: &str, cx: &ParseCx<'_>) -> Result<SpanNames, Problems> {
    let format = |text: &str, name| {
        let given = Some(text).filter(|text| !text.is_empty());
        let checked = given.map(|text| cx.formats.check_header_value(text).map(|()| text.into()));
        checked.transpose().at(name)
    };
    Ok(SpanNames {
        operation: format(operation, "operation")?,
        upstream: format(upstream, "upstream_operation")?,
    })
}

/// Of two tags with one name the first stays, as in Envoy.
fn parse_tags(tags: Vec<tag::CustomTag>, cx: &ParseCx<'_>) -> Result<Vec<CustomTag>, Problems> {
    let mut all = Collector::default();
    let mut parsed: Vec<CustomTag> = Vec::with_capacity(tags.len());
    for (i, message) in tags.into_iter().enumerate() {
        let Some(tag) = all.keep(parse_tag(message, cx).at_index("custom_tags", i)) else {
            continue;
        };
        if parsed.iter().all(|known| known.name != tag.name) {
            parsed.push(tag);
        }
    }
    all.finish().map(|()| parsed)
}

fn parse_tag(message: tag::CustomTag, cx: &ParseCx<'_>) -> Result<CustomTag, Problems> {
    let value = match message.r#type.ok_or(Reason::Missing)? {
        Type::Literal(literal) => TagValue::Fixed(literal.value.into()),
        Type::Environment(variable) => {
            let found = cx.sources.variable(&variable.name);
            TagValue::Fixed(found.unwrap_or(variable.default_value).into())
        }
        Type::RequestHeader(header) => {
            let name = field::header_name(&header.name, "name").at("request_header")?;
            TagValue::Header(name, header.default_value.into())
        }
        Type::Metadata(_) => {
            field::refuse(true, "metadata")?;
            return Err(Reason::Missing.into());
        }
        Type::Value(format) => {
            cx.formats.check_header_value(&format).at("value")?;
            TagValue::Format(format.into())
        }
    };
    Ok(CustomTag { name: message.tag.into(), value })
}
