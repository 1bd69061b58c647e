//! Hands what libFuzzer makes up to the entry `check_answers`.

#![no_main]

#[path = "../entries/mod.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entries::run("check_answers", data));
