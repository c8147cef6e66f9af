//! The description of the REST API (OpenAPI 3.1), made of the protos and a table of the routes.
//!
//! Names, types and texts are the protos' own, so that the two cannot part; tests hold the table
//! to the router and to the services.

use std::collections::{BTreeMap, BTreeSet};

use proto::prost_reflect::{DescriptorPool, FieldDescriptor, FileDescriptor, Kind};
use serde_json::{Map, Value, json};

const PACKAGE: &str = "gomesh.control.v1";

/// One route.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// In lower case.
    pub method: &'static str,
    /// With its parameters in braces.
    pub path: &'static str,
    /// Service and method that do the same by gRPC.
    pub rpc: &'static str,
    /// What is sent.
    body: Body,
    /// What comes back.
    answer: Answer,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    None,
    Message(&'static str),
    /// An object of the configuration, or a whole mesh.
    Document,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Message(&'static str),
    Document,
    /// `{"objects": [{"name", "etag", "document"}]}`.
    Objects,
    Events,
}

/// The gRPC methods that have no route: a stream that is a lease cannot be one, and `/v1/nodes` is
/// older than the protos.
pub const BY_GRPC_ALONE: [&str; 2] = ["Registry.Lease", "Control.ListNodes"];

const INSTANCE: &str = "/v1/registry/services/{service}/instances/{id}";
const OBJECT: &str = "/v1/config/{kind}/{name}";

/// All routes.
pub const OPERATIONS: [Operation; 14] = {
    use Answer as A;
    use Body as B;
    const fn operation(
        method: &'static str,
        path: &'static str,
        rpc: &'static str,
        body: Body,
        answer: Answer,
    ) -> Operation {
        Operation { method, path, rpc, body, answer }
    }
    const INSTANCES: &str = "/v1/registry/services/{service}/instances";
    const LIST: &str = "Registry.ListInstances";
    const FOUND: Answer = Answer::Message("ListInstancesResponse");
    const RENEW: &str = "/v1/registry/services/{service}/instances/{id}/renew";
    let renewed = A::Message("RenewResponse");
    [
        operation(
            "put",
            INSTANCE,
            "Registry.Register",
            B::Message("Registration"),
            A::Message("RegisterResponse"),
        ),
        operation("get", INSTANCE, LIST, B::None, A::Message("Instance")),
        operation(
            "delete",
            INSTANCE,
            "Registry.Deregister",
            B::None,
            A::Message("DeregisterResponse"),
        ),
        operation("post", RENEW, "Registry.Renew", B::Message("RenewRequest"), renewed),
        operation("get", INSTANCES, LIST, B::None, FOUND),
        operation("get", "/v1/registry/instances", LIST, B::None, FOUND),
        operation("get", "/v1/config/{kind}", "Control.ListConfig", B::None, A::Objects),
        operation("get", OBJECT, "Control.GetConfig", B::None, A::Document),
        operation(
            "put",
            OBJECT,
            "Control.UpdateConfig",
            B::Document,
            A::Message("UpdateConfigResponse"),
        ),
        operation(
            "delete",
            OBJECT,
            "Control.DeleteConfig",
            B::None,
            A::Message("DeleteConfigResponse"),
        ),
        operation("post", "/v1/apply", "Control.Apply", B::Document, A::Message("ApplyResponse")),
        operation(
            "get",
            "/v1/revisions",
            "Control.ListRevisions",
            B::None,
            A::Message("ListRevisionsResponse"),
        ),
        operation("get", "/v1/watch", "Control.WatchConfig", B::None, A::Events),
        operation("get", "/v1/openapi.json", "", B::None, A::Document),
    ]
};

/// The whole description.
///
/// # Errors
/// Never with the protos that are built in; a test makes it.
pub fn document() -> anyhow::Result<Value> {
    let pool = DescriptorPool::decode(proto::control::DESCRIPTOR_SET)?;
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut needed: BTreeSet<String> = BTreeSet::new();
    for operation in &OPERATIONS {
        let described = describe(&pool, operation, &mut needed);
        paths.entry(operation.path).or_default().insert(operation.method.to_owned(), described);
    }
    let mut schemas = Map::new();
    schemas.insert("Error".to_owned(), error_schema());
    while let Some(name) = needed.pop_first() {
        if !schemas.contains_key(&name) {
            let schema = message_schema(&pool, &name, &mut needed);
            schemas.insert(name, schema);
        }
    }
    Ok(json!({
        "openapi": "3.1.0",
        "info": {"title": "xds-server", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

fn describe(pool: &DescriptorPool, operation: &Operation, needed: &mut BTreeSet<String>) -> Value {
    let mut reference = |name: &str| {
        needed.insert(name.to_owned());
        json!({"$ref": format!("#/components/schemas/{name}")})
    };
    let any = json!({"type": "object"});
    let (kind, schema) = match operation.answer {
        Answer::Message(name) => ("application/json", reference(name)),
        Answer::Document => ("application/json", any.clone()),
        Answer::Objects => ("application/json", objects_schema()),
        Answer::Events => ("text/event-stream", reference("Revision")),
    };
    let error = json!({"schema": {"$ref": "#/components/schemas/Error"}});
    let refused = json!({"description": "refused", "content": {"application/json": error}});
    let mut described = json!({
        "summary": summary(pool, operation.rpc),
        "responses": {
            "2XX": {"description": "done", "content": {kind: {"schema": schema}}},
            "default": refused,
        },
    });
    let body = match operation.body {
        Body::None => None,
        Body::Message(name) => Some(reference(name)),
        Body::Document => Some(any),
    };
    if let Some(schema) = body {
        let content = json!({"schema": schema});
        described["requestBody"] = json!({
            "content": {"application/json": content, "application/yaml": content},
        });
    }
    let parameters = parameters(operation);
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    described
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let named = operation.path.split('{').skip(1).filter_map(|part| part.split('}').next());
    let text = json!({"type": "string"});
    let mut found: Vec<Value> = named
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": text}))
        .collect();
    let mut add = |name: &str, place: &str, schema: Value| {
        found.push(json!({"name": name, "in": place, "required": false, "schema": schema}));
    };
    match operation.rpc {
        "Control.UpdateConfig" | "Control.DeleteConfig" => add("If-Match", "header", text),
        "Control.WatchConfig" => add("Last-Event-ID", "header", text),
        "Control.Apply" => add("dry_run", "query", json!({"type": "boolean"})),
        _ => {}
    }
    found
}

fn objects_schema() -> Value {
    let text = json!({"type": "string"});
    let object = json!({
        "type": "object",
        "properties": {"name": text, "etag": text, "document": {"type": "object"}},
    });
    json!({"type": "object", "properties": {"objects": {"type": "array", "items": object}}})
}

fn error_schema() -> Value {
    let text = json!({"type": "string"});
    let problem = json!({
        "type": "object",
        "properties": {
            "path": text, "message": text, "suggestion": text, "line": {"type": "integer"},
        },
        "required": ["path", "message"],
    });
    json!({
        "type": "object",
        "properties": {"error": text, "problems": {"type": "array", "items": problem}},
        "required": ["error"],
    })
}

fn message_schema(pool: &DescriptorPool, name: &str, needed: &mut BTreeSet<String>) -> Value {
    let Some(message) = pool.get_message_by_name(&format!("{PACKAGE}.{name}")) else {
        return json!({});
    };
    let properties: Map<String, Value> = message
        .fields()
        .map(|field| {
            let mut schema = field_schema(&field, needed);
            schema["description"] = comment(&field.parent_file(), field.path()).into();
            (field.name().to_owned(), schema)
        })
        .collect();
    json!({
        "type": "object",
        "description": comment(&message.parent_file(), message.path()),
        "properties": properties,
        "additionalProperties": false,
    })
}

fn field_schema(field: &FieldDescriptor, needed: &mut BTreeSet<String>) -> Value {
    let one = match field.kind() {
        Kind::Message(message) if field.is_map() => {
            let value = message.get_field_by_name("value");
            let values = value.map(|value| field_schema(&value, needed)).unwrap_or_default();
            return json!({"type": "object", "additionalProperties": values});
        }
        Kind::Message(message) => {
            needed.insert(message.name().to_owned());
            json!({"$ref": format!("#/components/schemas/{}", message.name())})
        }
        // The only enum, as words.
        Kind::Enum(_) => json!({"enum": ["passing", "warning", "critical", "draining"]}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Uint32 => json!({"type": "integer", "format": "uint32"}),
        Kind::Uint64 => json!({"type": "integer", "format": "uint64"}),
        _ => json!({"type": "string"}),
    };
    if field.is_list() { json!({"type": "array", "items": one}) } else { one }
}

fn summary(pool: &DescriptorPool, rpc: &str) -> String {
    let Some((service, method)) = rpc.split_once('.') else {
        return "This description.".to_owned();
    };
    let service = pool.get_service_by_name(&format!("{PACKAGE}.{service}"));
    let method = service.and_then(|service| service.methods().find(|m| m.name() == method));
    method.map(|m| comment(&m.parent_file(), m.path())).unwrap_or_default()
}

/// What the proto says above that element.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let mut locations = info.into_iter().flat_map(|info| &info.location);
    let found = locations.find(|location| location.path == path);
    let text = found.map(|location| location.leading_comments()).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_services_has_a_route() {
        let pool = DescriptorPool::decode(proto::control::DESCRIPTOR_SET).unwrap();
        let named = |rpc: &str| OPERATIONS.iter().any(|operation| operation.rpc == rpc);
        let services: Vec<_> = pool.services().collect();
        assert_eq!(services.len(), 2);
        for method in services.iter().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let rpc = format!("{}.{}", method.parent_service().name(), method.name());
            assert!(named(&rpc) != BY_GRPC_ALONE.contains(&rpc.as_str()), "{rpc}");
        }
    }

    #[test]
    fn description_is_whole() {
        let document = document().unwrap();
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name} is not described");
        }
        let registration = &schemas["Registration"]["properties"];
        assert_eq!(registration["port"]["type"], "integer");
        assert_eq!(registration["labels"]["additionalProperties"]["type"], "string");
        assert!(registration["address"]["description"].as_str().unwrap().contains("IPv4"));
        let put = &document["paths"][INSTANCE]["put"];
        assert!(put["summary"].as_str().unwrap().starts_with("Registers an instance"), "{put}");
        assert_eq!(put["parameters"].as_array().unwrap().len(), 2);
        assert!(schemas.values().skip(1).all(|schema| schema != &json!({})));
    }
}
