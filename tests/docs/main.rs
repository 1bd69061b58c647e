//! Keeps the documentation true: what is generated is fresh, what is quoted exists, what is shown runs.
//!
//! `BLESS=1 cargo test --test docs` writes the generated pages anew; read the difference as code.

mod blocks;
mod commands;
mod demo;
mod examples;
mod facts;
mod faults;
mod kept;
mod links;
mod markdown;
mod picture;
mod reference;
mod requirements;
mod shipped;
mod sources;
mod tutorial;
