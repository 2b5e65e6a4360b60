//! The server over real sockets, with the demo's model.
mod audit;
mod client;
mod faults;
mod files;
mod flow;
mod load;
mod page;
mod rig;
mod schema;
mod security;
mod tls;
