//! What a call says: nested forms, read field by field. A field that nobody asked for is an error, as with Stripe.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::engine::Change;
use crate::engine::clock::Seconds;
use crate::engine::error::ApiError;
use crate::engine::model::Metadata;

/// How deep a form may nest, and how many lists it may hold.
const DEPTH: usize = 12;

/// The fields of a call, or of a part of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params {
    path: String,
    fields: Map<String, Value>,
}

/// One text, or fields.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    Text(String),
    Part(Params),
}

impl Params {
    /// Reads a form or a query, such as `items[0][price]=price_1&expand[]=customer`.
    pub(crate) fn read(form: &str) -> Result<Self, ApiError> {
        if form.is_empty() {
            return Ok(Self::default());
        }
        let config = serde_qs::Config::new().max_depth(DEPTH).use_form_encoding(true);
        let fields = config.deserialize_str(form).map_err(|error| {
            ApiError::invalid(format!(
                "The parameters could not be read: {error}. Write them like items[0][price]=price_1"
            ))
        })?;
        Ok(Self { path: String::new(), fields })
    }

    fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}[{key}]", self.path) }
    }

    fn wrong(&self, key: &str, kind: &str) -> ApiError {
        let at = self.at(key);
        ApiError::invalid(format!("Invalid {kind}: {at}")).at(&at)
    }

    fn missing(&self, key: &str) -> ApiError {
        let at = self.at(key);
        ApiError::invalid(format!("Missing required param: {at}.")).coded("parameter_missing").at(&at)
    }

    /// A text, as it was given; an empty one clears what it is for.
    pub(crate) fn text(&mut self, key: &str) -> Result<Option<String>, ApiError> {
        match self.fields.remove(key) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(String::new())),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "string")),
        }
    }

    /// A text that is not empty.
    pub(crate) fn filled(&mut self, key: &str) -> Result<Option<String>, ApiError> {
        Ok(self.text(key)?.filter(|text| !text.is_empty()))
    }

    pub(crate) fn required(&mut self, key: &str) -> Result<String, ApiError> {
        self.filled(key)?.ok_or_else(|| self.missing(key))
    }

    /// One of a few words.
    pub(crate) fn word(&mut self, key: &str, words: &[&str]) -> Result<Option<String>, ApiError> {
        let given = self.filled(key)?;
        if let Some(word) = given.as_deref().filter(|word| !words.contains(word)) {
            let at = self.at(key);
            let why = format!("Invalid {at}: must be one of {}, not {word:?}", words.join(", "));
            return Err(ApiError::invalid(why).at(&at));
        }
        Ok(given)
    }

    pub(crate) fn number(&mut self, key: &str) -> Result<Option<i64>, ApiError> {
        let given = self.filled(key)?;
        given.map(|text| text.parse().map_err(|_| self.wrong(key, "integer"))).transpose()
    }

    /// A whole number between two others, both included.
    pub(crate) fn within(&mut self, key: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, ApiError> {
        let given = self.number(key)?;
        if given.is_none_or(|number| range.contains(&number)) {
            return Ok(given);
        }
        let (at, least, most) = (self.at(key), range.start(), range.end());
        let why = format!("Invalid {at}: must be at least {least} and at most {most}");
        Err(ApiError::invalid(why).coded("parameter_invalid_integer").at(&at))
    }

    /// A moment, the end of the period, or nothing at all to clear it.
    pub(crate) fn moment_or_clear(
        &mut self,
        key: &str,
        period_end: Seconds,
    ) -> Result<Change<Seconds>, ApiError> {
        match self.text(key)?.as_deref() {
            None => Ok(Change::Keep),
            Some("") => Ok(Change::Clear),
            Some("min_period_end" | "max_period_end") => Ok(Change::Set(period_end)),
            Some(text) => text.parse().map(Change::Set).map_err(|_| self.wrong(key, "timestamp")),
        }
    }

    pub(crate) fn flag(&mut self, key: &str) -> Result<Option<bool>, ApiError> {
        match self.filled(key)?.as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(self.wrong(key, "boolean")),
        }
    }

    /// A part of the call with fields of its own; empty when it is not there.
    pub(crate) fn part(&mut self, key: &str) -> Result<Self, ApiError> {
        let path = self.at(key);
        match self.fields.remove(key) {
            None => Ok(Self { path, fields: Map::new() }),
            Some(Value::Object(fields)) => Ok(Self { path, fields }),
            Some(_) => Err(self.wrong(key, "object")),
        }
    }

    /// Something that is either one text or has fields of its own.
    pub(crate) fn said(&mut self, key: &str) -> Result<Option<Said>, ApiError> {
        match self.fields.get(key) {
            None => Ok(None),
            Some(Value::Object(_)) => self.part(key).map(|part| Some(Said::Part(part))),
            Some(_) => Ok(self.text(key)?.map(Said::Text)),
        }
    }

    /// Whether anything is said under this name.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.fields.contains_key(key)
    }

    /// A list of parts.
    pub(crate) fn parts(&mut self, key: &str) -> Result<Vec<Self>, ApiError> {
        let values = match self.fields.remove(key) {
            None => Vec::new(),
            Some(Value::Array(values)) => values,
            Some(_) => return Err(self.wrong(key, "array")),
        };
        let at = self.at(key);
        let part = |(place, value)| match value {
            Value::Object(fields) => Ok(Self { path: format!("{at}[{place}]"), fields }),
            _ => Err(ApiError::invalid(format!("Invalid object: {at}[{place}]")).at(&at)),
        };
        values.into_iter().enumerate().map(part).collect()
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self, key: &str) -> Result<Vec<String>, ApiError> {
        match self.fields.remove(key) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(values)) => values
                .into_iter()
                .map(|value| value.as_str().map(str::to_owned).ok_or_else(|| self.wrong(key, "array")))
                .collect(),
            Some(_) => Err(self.wrong(key, "array")),
        }
    }

    /// Metadata as given. An empty value stays, since it removes a key.
    pub(crate) fn metadata(&mut self) -> Result<Option<Metadata>, ApiError> {
        if !self.has("metadata") {
            return Ok(None);
        }
        // Keys that are all numbers make the form look like a list.
        let fields = match self.fields.remove("metadata") {
            Some(Value::Object(fields)) => fields,
            Some(Value::Array(values)) => {
                values.into_iter().enumerate().map(|(key, value)| (key.to_string(), value)).collect()
            }
            _ => return Ok(Some(Metadata::new())),
        };
        let text = |(key, value): (String, Value)| match value {
            Value::String(text) => Ok((key, text)),
            Value::Null => Ok((key, String::new())),
            _ => Err(self.wrong("metadata", "hash of strings")),
        };
        fields.into_iter().map(text).collect::<Result<_, _>>().map(Some)
    }

    /// Leaves fields aside that are Stripe's and make no difference here.
    pub(crate) fn without_effect(&mut self, keys: &[&str]) {
        for key in keys {
            self.fields.remove(*key);
        }
    }

    /// Everything has been read; what is left is unknown.
    pub(crate) fn finish(&self) -> Result<(), ApiError> {
        match self.fields.keys().next() {
            None => Ok(()),
            Some(key) => {
                let at = self.at(key);
                let why = format!(
                    "Received unknown parameter: {at} (Stripe or this simulator does not take it here)"
                );
                Err(ApiError::invalid(why).coded("parameter_unknown").at(&at))
            }
        }
    }
}
