/// A letter in lower case: Latin as far as European languages use it, Greek and Cyrillic; any other as it is. The table of
/// all letters that the standard library has for this is 12 KiB of a component.
pub fn lower(letter: char) -> char {
    let code = u32::from(letter);
    let lower = match code {
        0x41..=0x5a | 0xc0..=0xd6 | 0xd8..=0xde | 0x391..=0x3a1 | 0x3a3..=0x3ab | 0x410..=0x42f => code + 0x20,
        0x400..=0x40f => code + 0x50,
        0x100..=0x12f | 0x132..=0x137 | 0x14a..=0x177 | 0x460..=0x481 | 0x48a..=0x4bf | 0x4d0..=0x52f => code | 1,
        0x1e00..=0x1e95 | 0x1ea0..=0x1eff => code | 1,
        // Pairs that begin with an odd number.
        0x139..=0x148 | 0x179..=0x17e => code + (code & 1),
        0x178 => 0xff,
        0x386 => 0x3ac,
        0x388..=0x38a => code + 0x25,
        0x38c => 0x3cc,
        0x38e | 0x38f => code + 0x3f,
        _ => code,
    };
    char::from_u32(lower).unwrap_or(letter)
}

/// A text in lower case, see [`lower`].
pub fn lowered(text: &str) -> String {
    text.chars().map(lower).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_europe_are_lowered_as_the_standard_library_does_it() {
        let blocks =
            [0..=0x12f, 0x132..=0x17f, 0x386..=0x3ce, 0x400..=0x4bf, 0x4d0..=0x52f, 0x1e00..=0x1e95, 0x1ea0..=0x1eff];
        for letter in blocks.into_iter().flatten().filter_map(char::from_u32) {
            assert_eq!(lower(letter).to_string(), letter.to_lowercase().to_string(), "{letter}");
        }
        assert_eq!(lowered("Ærø & ÅRHUS, ŁÓDŹ, ΑΘΉΝΑ, КИЇВ 10€"), "ærø & århus, łódź, αθήνα, київ 10€");
    }
}
