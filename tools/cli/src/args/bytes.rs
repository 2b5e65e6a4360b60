//! Amounts of memory and disk, as typed.

const UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// `1048576`, or with a unit `1024KiB`, `1MiB`: at least one byte.
pub fn bytes(text: &str) -> Result<u64, String> {
    let with_unit = UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)));
    let (number, unit) = with_unit.unwrap_or((text, 1));
    let count = number.trim().parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
    count.filter(|&count| count > 0).ok_or_else(|| "wanted bytes above 0, such as 500MiB or 2GiB".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_units() {
        assert_eq!((bytes("12"), bytes("2GiB"), bytes("1 KiB")), (Ok(12), Ok(2 << 30), Ok(1024)));
        for bad in ["", "0", "-1", "GiB", "1GB", "1.5GiB", "99999999999TiB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
