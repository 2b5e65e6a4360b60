//! Lists of a known length, as typed.

/// `LO,HI` and `N,H,W`: exactly `N` values, separated by commas.
pub fn list<T: std::str::FromStr + Copy + Default, const N: usize>(text: &str) -> Result<[T; N], String> {
    let mut values = [T::default(); N];
    let mut parts = text.split(',');
    for value in &mut values {
        *value = parts.next().and_then(|part| part.trim().parse().ok()).ok_or(format!("wanted {N} numbers"))?;
    }
    if parts.next().is_some() { Err(format!("wanted {N} numbers")) } else { Ok(values) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_exactly_their_length() {
        assert_eq!(list::<f32, 2>("-160,240"), Ok([-160.0, 240.0]));
        for bad in ["1", "1,2,3", "1,x", "", ","] {
            assert!(list::<f32, 2>(bad).is_err(), "{bad:?}");
        }
    }
}
