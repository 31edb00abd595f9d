//! Functions of the application: what they are asked and answer can be expressed in JSON.

use js_sys::{Function, JSON, Promise};
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;

use super::streams::Broken;

/// What the function answers to a question; or why it does not.
pub(super) async fn ask(function: &Function, question: &impl Serialize) -> Result<JsValue, String> {
    let question = question.serialize(&Serializer::json_compatible()).map_err(|error| error.to_string())?;
    let answer = match function.call1(&JsValue::UNDEFINED, &question) {
        // Of a value that is no promise it makes one.
        Ok(answer) => JsFuture::from(Promise::resolve(&answer)).await,
        Err(error) => Err(error),
    };
    answer.map_err(|error| Broken::from_js(&error).0)
}

/// A value as JSON; of a function there is none.
pub(super) fn stringify(value: &JsValue) -> Option<String> {
    JSON::stringify(value).ok()?.as_string()
}
