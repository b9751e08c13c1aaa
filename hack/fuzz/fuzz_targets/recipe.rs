//! Recipes: what is accepted means the same when it is written as JSON and read back.
#![no_main]

use assay_core::recipe::Recipe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(recipe) = Recipe::parse(bytes) else { return };
    let written = serde_json::to_vec(&recipe).expect("a recipe must be writable");
    let again: Recipe = serde_json::from_slice(&written).expect("what we write must be readable");
    assert_eq!(again, recipe);
});
