//! serde for numbers that may be NaN or infinite: formats for people get those as text. JSON has no NaN, and
//! would give back "missing" for the one number that says what went wrong.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Finite(f64),
    Text(String),
}

pub(super) fn serialize<S: Serializer>(value: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
    if !to.is_human_readable() {
        return value.serialize(to);
    }
    value.map(|x| if x.is_finite() { Number::Finite(x) } else { Number::Text(x.to_string()) }).serialize(to)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    if !from.is_human_readable() {
        return Option::deserialize(from);
    }
    Option::<Number>::deserialize(from)?
        .map(|number| match number {
            Number::Finite(x) => Ok(x),
            Number::Text(text) => text.parse().map_err(D::Error::custom),
        })
        .transpose()
}
