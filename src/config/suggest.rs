//! "Did you mean": the nearest of the words that would have been right.

/// Returns the candidate nearest to `word`, if one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let limit = match word.chars().count() {
        0..=2 => 1,
        3..=5 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `_` for `-` is what people type, and costs nothing.
fn distance(a: &str, b: &str) -> usize {
    strsim::damerau_levenshtein(&a.replace('_', "-"), &b.replace('_', "-"))
}

/// Says `did you mean`, or lists what there is.
pub fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(near) = nearest(word, candidates.clone()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let all: Vec<&str> = candidates.into_iter().collect();
    match all.as_slice() {
        [] => None,
        [one] => Some(format!("there is `{one}`")),
        _ if all.len() <= 16 => Some(format!("there are {}", list(&all))),
        _ => None,
    }
}

/// Writes words as prose: `a`, `b` and `c`.
pub fn list(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => format!("`{one}`"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|word| format!("`{word}`")).collect();
            format!("{} and `{last}`", first.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_near_is_suggested() {
        assert_eq!(nearest("addres", ["user", "address"]), Some("address"));
        assert_eq!(nearest("at_once", ["at-once", "soak"]), Some("at-once"));
        assert_eq!(nearest("colour", ["user", "address"]), None);
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(hint("zzz", ["a", "b", "c"]).as_deref(), Some("there are `a`, `b` and `c`"));
    }
}
