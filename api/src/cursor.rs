//! Where the next page of a list starts, as a text that nobody has to understand.

/// The cursor behind the thing with this id.
pub fn after(id: &str) -> String {
    hex::encode(id)
}

/// Whether anything could have this id: none is empty or has control characters, which not every store could look for.
pub fn could_be_an_id(id: &str) -> bool {
    !id.is_empty() && !id.chars().any(char::is_control)
}

/// The id that a cursor holds, if it is one.
pub fn id(cursor: &str) -> Option<String> {
    String::from_utf8(hex::decode(cursor).ok()?).ok().filter(|id| could_be_an_id(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_holds_the_id_it_was_made_of_and_nothing_else_is_one() {
        assert_eq!(id(&after("evt_1")), Some("evt_1".to_owned()));
        for bad in ["0", "evt_1", "ff", &after("evt\u{0}"), &after("\n")] {
            assert_eq!(id(bad), None, "{bad}");
        }
    }
}
