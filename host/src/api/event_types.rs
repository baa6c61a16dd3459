//! The catalogue of event types.

use axum::{
    Json as Out,
    extract::{Path, State},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Api,
    auth::{May, Need as _, Read},
    body::Params,
    paging::{PageParams, Paged, paged_by_name},
    problem::{Answer, Problem},
    routes::{Routes, doc},
};
use crate::{event::catalogue::TypeDefinition, plugin::model::EventKind};

const TAG: &str = "event types";

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get(
            "/v1/event-types",
            doc(TAG, Read::SCOPE, "List event types and commands with schema and example")
                .query::<PageParams>()
                .lists::<EventType>("A page."),
            list,
        )
        .get("/v1/event-types/{name}", doc(TAG, Read::SCOPE, "Read one").answers::<EventType>(200, "The type."), read)
}

/// A type of event or command.
#[derive(Serialize, ToSchema)]
struct EventType {
    name: String,
    /// `event` or `command`.
    #[schema(value_type = String)]
    kind: EventKind,
    description: String,
    /// JSON Schema of `data`, enforced when it is published and emitted.
    #[schema(value_type = Option<Object>)]
    schema: Option<Value>,
    /// An example of `data`.
    #[schema(value_type = Option<Object>)]
    example: Option<Value>,
    emitted_by: Vec<String>,
    handled_by: Vec<String>,
    /// Fields that name a person, as JSON Pointers with `*` for every element.
    persons: Vec<String>,
}

fn shown(definition: &TypeDefinition) -> EventType {
    EventType {
        name: definition.name.clone(),
        kind: definition.kind,
        description: definition.description.clone(),
        schema: definition.schema.as_deref().cloned(),
        example: definition.example.clone(),
        emitted_by: definition.emitted_by.clone(),
        handled_by: definition.handled_by.clone(),
        persons: definition.persons.iter().map(crate::event::catalogue::PersonField::pointer).collect(),
    }
}

async fn list(State(api): State<Api>, _: May<Read>, Params(page): Params<PageParams>) -> Answer<Out<Paged<EventType>>> {
    let catalogue = api.hub.catalogue.load();
    paged_by_name(catalogue.iter().map(|definition| (definition.name.clone(), shown(definition))).collect(), &page)
        .map(Out)
}

async fn read(State(api): State<Api>, _: May<Read>, Path(name): Path<String>) -> Answer<Out<EventType>> {
    let catalogue = api.hub.catalogue.load();
    catalogue.get(&name).map(|definition| Out(shown(definition))).ok_or_else(|| Problem::not_found("event type"))
}
