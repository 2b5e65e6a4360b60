//! What stands between HTTP and the engine.
mod body;
mod chat;
mod completions;
pub(crate) mod fields;
mod guard;
mod health;
mod messages;
mod models;
mod openapi;
mod page;
pub(crate) mod params;
mod reply;
mod routes;
mod score;
mod source;
mod stream;

pub(crate) use routes::router;
