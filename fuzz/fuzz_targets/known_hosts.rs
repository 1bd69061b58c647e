//! Hands what libFuzzer makes up to the entry `known_hosts`.

#![no_main]

#[path = "../entries/mod.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entries::run("known_hosts", data));
