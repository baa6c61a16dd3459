//! One table of routes: what serves a request and what describes it are written in one place, so that the document cannot
//! name a route that is not there, or miss one that is.

use std::{collections::BTreeMap, convert::Infallible};

use axum::{
    Router,
    handler::Handler,
    routing::{MethodFilter, MethodRouter, on},
};
use serde_json::{Value, json};
use utoipa::{IntoParams, PartialSchema, ToSchema, openapi::path::ParameterIn};

use super::{Api, auth, problem::Problem};
use crate::store::registry::Scope;

/// Routes with their description.
#[derive(Default)]
pub(super) struct Routes {
    served: BTreeMap<String, MethodRouter<Api, Infallible>>,
    paths: BTreeMap<String, BTreeMap<&'static str, Value>>,
    schemas: BTreeMap<String, Value>,
}

/// The description of one route.
pub(super) struct Doc {
    summary: &'static str,
    tag: &'static str,
    scope: Option<Scope>,
    parameters: Vec<Value>,
    bodies: BTreeMap<&'static str, Value>,
    answers: BTreeMap<u16, Value>,
    schemas: Vec<(String, Value)>,
}

/// Begins the description of a route that needs a key of `scope`.
pub(super) fn doc(tag: &'static str, scope: Scope, summary: &'static str) -> Doc {
    Doc { scope: Some(scope), ..open(tag, summary) }
}

/// Begins the description of a route that needs no key.
pub(super) fn open(tag: &'static str, summary: &'static str) -> Doc {
    Doc {
        summary,
        tag,
        scope: None,
        parameters: Vec::new(),
        bodies: BTreeMap::new(),
        answers: BTreeMap::new(),
        schemas: Vec::new(),
    }
}

impl Doc {
    /// A JSON body.
    pub(super) fn body<T: ToSchema>(self) -> Self {
        self.body_as::<T>("application/json")
    }

    /// A body of another type.
    pub(super) fn body_as<T: ToSchema>(mut self, media: &'static str) -> Self {
        let schema = self.reference::<T>();
        self.bodies.insert(media, json!({"schema": schema}));
        self
    }

    /// A body that is no JSON.
    pub(super) fn raw_body(mut self, media: &'static str) -> Self {
        self.bodies.insert(media, json!({"schema": {"type": "string", "format": "binary"}}));
        self
    }

    /// Parameters of the query.
    pub(super) fn query<T: IntoParams>(mut self) -> Self {
        let parameters = T::into_params(|| Some(ParameterIn::Query));
        self.parameters.extend(parameters.iter().filter_map(|parameter| serde_json::to_value(parameter).ok()));
        self
    }

    /// A JSON answer.
    pub(super) fn answers<T: ToSchema>(mut self, status: u16, description: &str) -> Self {
        let schema = self.reference::<T>();
        let content = json!({"description": description, "content": {"application/json": {"schema": schema}}});
        self.answers.insert(status, content);
        self
    }

    /// A page of a list of `T`.
    pub(super) fn lists<T: ToSchema>(mut self, description: &str) -> Self {
        let entry = self.reference::<T>();
        let schema = json!({
            "type": "object",
            "required": ["data", "next"],
            "properties": {
                "data": {"type": "array", "items": entry},
                "next": {"type": ["string", "null"], "description": "What to give as `after` for the next page; null at the end."}
            }
        });
        let content = json!({"description": description, "content": {"application/json": {"schema": schema}}});
        self.answers.insert(200, content);
        self
    }

    /// An answer of another type, or with no body.
    pub(super) fn answers_as(mut self, status: u16, description: &str, media: Option<&str>) -> Self {
        let mut answer = json!({"description": description});
        if let Some(media) = media {
            answer["content"] = json!({media: {"schema": {"type": "string"}}});
        }
        self.answers.insert(status, answer);
        self
    }

    fn reference<T: ToSchema>(&mut self) -> Value {
        let name = T::name().into_owned();
        let mut referenced = Vec::new();
        T::schemas(&mut referenced);
        for (name, schema) in referenced {
            self.schemas.push((name, serde_json::to_value(schema).unwrap_or_default()));
        }
        self.schemas.push((name.clone(), serde_json::to_value(<T as PartialSchema>::schema()).unwrap_or_default()));
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    fn operation(self, path: &str, method: &str) -> Value {
        let in_path = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let mut parameters: Vec<Value> = in_path
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
            .collect();
        parameters.extend(self.parameters);
        if method == "post" && self.scope.is_some() {
            parameters.push(json!({
                "name": "Idempotency-Key", "in": "header", "required": false, "schema": {"type": "string", "maxLength": 255},
                "description": "Repeating the request with this key gives the first answer again for a day."
            }));
        }
        let mut responses: BTreeMap<String, Value> =
            self.answers.into_iter().map(|(status, answer)| (status.to_string(), answer)).collect();
        responses.insert("default".to_owned(), json!({"$ref": "#/components/responses/Problem"}));
        let mut operation = json!({
            "operationId": operation_id(path, method),
            "summary": self.summary,
            "tags": [self.tag],
            "parameters": parameters,
            "responses": responses,
        });
        if !self.bodies.is_empty() {
            operation["requestBody"] = json!({"content": self.bodies});
        }
        match self.scope {
            Some(scope) => {
                operation["security"] = json!([{"key": []}]);
                operation["description"] = json!(format!("Needs a key of scope {} or above.", auth::scope_name(scope)));
            }
            None => operation["security"] = json!([]),
        }
        operation
    }
}

fn operation_id(path: &str, method: &str) -> String {
    let words = path.split('/').filter(|part| !part.is_empty() && *part != "v1");
    let words = words.map(|part| part.trim_matches(['{', '}']).replace(['-', '.'], "_"));
    std::iter::once(method.to_owned()).chain(words).collect::<Vec<_>>().join("_")
}

impl Routes {
    /// Adds a route.
    fn route<H, T>(mut self, method: (&'static str, MethodFilter), path: &str, doc: Doc, handler: H) -> Self
    where
        H: Handler<T, Api>,
        T: 'static,
    {
        let (name, filter) = method;
        for (schema, value) in &doc.schemas {
            self.schemas.insert(schema.clone(), value.clone());
        }
        self.paths.entry(path.to_owned()).or_default().insert(name, doc.operation(path, name));
        let methods = self.served.remove(path).unwrap_or_default();
        self.served.insert(path.to_owned(), methods.merge(on(filter, handler)));
        self
    }

    /// Adds a GET route.
    pub(super) fn get<H: Handler<T, Api>, T: 'static>(self, path: &str, doc: Doc, handler: H) -> Self {
        self.route(("get", MethodFilter::GET), path, doc, handler)
    }

    /// Adds a POST route.
    pub(super) fn post<H: Handler<T, Api>, T: 'static>(self, path: &str, doc: Doc, handler: H) -> Self {
        self.route(("post", MethodFilter::POST), path, doc, handler)
    }

    /// Adds a PUT route.
    pub(super) fn put<H: Handler<T, Api>, T: 'static>(self, path: &str, doc: Doc, handler: H) -> Self {
        self.route(("put", MethodFilter::PUT), path, doc, handler)
    }

    /// Adds a PATCH route.
    pub(super) fn patch<H: Handler<T, Api>, T: 'static>(self, path: &str, doc: Doc, handler: H) -> Self {
        self.route(("patch", MethodFilter::PATCH), path, doc, handler)
    }

    /// Adds a DELETE route.
    pub(super) fn delete<H: Handler<T, Api>, T: 'static>(self, path: &str, doc: Doc, handler: H) -> Self {
        self.route(("delete", MethodFilter::DELETE), path, doc, handler)
    }

    /// The paths and schemas of the document.
    pub(super) fn described(&self) -> (Value, Value) {
        let mut schemas = self.schemas.clone();
        schemas.insert("Problem".to_owned(), serde_json::to_value(Problem::schema()).unwrap_or_default());
        let mut referenced = Vec::new();
        Problem::schemas(&mut referenced);
        schemas.extend(
            referenced.into_iter().map(|(name, schema)| (name, serde_json::to_value(schema).unwrap_or_default())),
        );
        (json!(self.paths), json!(schemas))
    }

    /// The router that serves them.
    pub(super) fn into_router(self) -> Router<Api> {
        self.served.into_iter().fold(Router::new(), |router, (path, methods)| router.route(&path, methods))
    }
}
