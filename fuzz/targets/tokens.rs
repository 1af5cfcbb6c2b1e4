//! What clients send back to us: positions and cursors.
#![no_main]

use domain::ports::Position;
use fuzz::cursor;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(position) = Position::parse(text) {
        assert_eq!(Position::parse(&position.to_string()), Some(position));
    }
    if let Some(id) = cursor::id(text) {
        assert_eq!(cursor::id(&cursor::after(&id)), Some(id.clone()));
        assert!(!id.contains('\0'), "no PostgreSQL can be asked for {id:?}");
    }
    let number = text.bytes().fold(0_u64, |number, byte| number.rotate_left(8) ^ u64::from(byte));
    assert_eq!(Position::parse(&Position::new(number).to_string()), Some(Position::new(number)));
    if cursor::could_be_an_id(text) {
        assert_eq!(cursor::id(&cursor::after(text)).as_deref(), Some(text));
    }
});
