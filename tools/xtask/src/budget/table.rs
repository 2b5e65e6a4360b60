//! The table of what kernels take, and what is wrong with one.

use std::collections::BTreeMap;

/// What is known of a kernel's machine code, in the order of the columns.
pub const COLUMNS: [&str; 8] = ["registers", "shared", "stack", "LDL", "STL", "HMMA", "LDSM", "LDGSTS"];
/// Instructions among the columns, which are counted in the listing.
pub const INSTRUCTIONS: &[&str] = &["LDL", "STL", "HMMA", "LDSM", "LDGSTS"];
const KEYS: [&str; 4] = ["source", "kernel", "arch", "compiler"];
/// Columns that must be 0: registers spill, or an array is indexed at run time.
const ZERO: [&str; 3] = ["stack", "LDL", "STL"];
/// What a source that multiplies with tensor cores must hold.
const TENSOR_CORE: &str = "HMMA";

/// Which machine code a row is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The op, with the file where it is not `kernel.cu`.
    pub source: String,
    /// The kernel's name.
    pub kernel: String,
    /// Such as `sm_80`.
    pub arch: String,
    /// Such as `nvcc13.0`.
    pub compiler: String,
}

/// A value for each column that is known.
pub type Figures = BTreeMap<&'static str, u64>;

/// All rows by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    pub rows: BTreeMap<Key, Figures>,
}

impl Table {
    /// Reads a table; the first line names the columns.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        if lines.next() != Some(heading().as_str()) {
            return Err("its columns are others".to_owned());
        }
        let rows = lines.map(|line| parse_row(line).ok_or_else(|| format!("`{line}` is no row")));
        Ok(Self { rows: rows.collect::<Result<_, _>>()? })
    }

    /// Reads rows without the names of the columns.
    pub fn parse_rows(text: &str) -> Option<Self> {
        Some(Self { rows: text.lines().map(parse_row).collect::<Option<_>>()? })
    }

    /// The rows as text, one a line.
    pub fn rows_text(&self) -> String {
        let mut lines: Vec<String> = self.rows.iter().map(|(key, figures)| row_text(key, figures)).collect();
        lines.sort();
        lines.concat()
    }

    /// The whole file.
    pub fn text(&self) -> String {
        format!("{}\n{}", heading(), self.rows_text())
    }

    /// Every way in which the machine code differs from the table `wanted`, or is bad whatever the table says.
    /// `sources` multiply with tensor cores.
    pub fn faults(&self, wanted: &Self, sources: &[&str]) -> Vec<String> {
        let mut faults: Vec<String> =
            self.rows.iter().flat_map(|(key, figures)| row_faults(key, figures, wanted)).collect();
        let gone = wanted.rows.keys().filter(|key| !self.rows.contains_key(key));
        faults.extend(gone.map(|key| format!("{}: no longer there", key.text())));
        faults.extend(sources.iter().flat_map(|source| self.without_tensor_cores(source)));
        faults.sort();
        faults
    }

    /// For each architecture and compiler: whether a source has no kernel with the instruction of tensor cores.
    fn without_tensor_cores(&self, source: &str) -> Vec<String> {
        let mut found: BTreeMap<(&str, &str), bool> = BTreeMap::new();
        for (key, figures) in &self.rows {
            let holds = found.entry((&key.arch, &key.compiler)).or_default();
            *holds |= key.source == source && figures[TENSOR_CORE] > 0;
        }
        let without = found.into_iter().filter(|(_, holds)| !holds);
        without
            .map(|((arch, compiler), _)| format!("{source} {arch} {compiler}: no kernel holds {TENSOR_CORE}"))
            .collect()
    }
}

impl Key {
    fn text(&self) -> String {
        [&self.source, &self.kernel, &self.arch, &self.compiler].map(String::as_str).join(" ")
    }
}

fn heading() -> String {
    KEYS.iter().chain(&COLUMNS).copied().collect::<Vec<_>>().join("\t")
}

fn row_text(key: &Key, figures: &Figures) -> String {
    let keys = [&key.source, &key.kernel, &key.arch, &key.compiler].map(String::clone);
    let values = COLUMNS.map(|column| figures[column].to_string());
    keys.into_iter().chain(values).collect::<Vec<_>>().join("\t") + "\n"
}

fn parse_row(line: &str) -> Option<(Key, Figures)> {
    let words: Vec<&str> = line.split('\t').collect();
    if words.len() != KEYS.len() + COLUMNS.len() {
        return None;
    }
    let key = |index: usize| words[index].to_owned();
    let key = Key { source: key(0), kernel: key(1), arch: key(2), compiler: key(3) };
    let values = COLUMNS.into_iter().zip(&words[KEYS.len()..]);
    let figures = values.map(|(column, word)| Some((column, word.parse().ok()?)));
    Some((key, figures.collect::<Option<_>>()?))
}

fn row_faults(key: &Key, figures: &Figures, wanted: &Table) -> Vec<String> {
    let name = key.text();
    let spilled = ZERO.into_iter().filter(|column| figures[column] > 0);
    let reason = "wanted 0: registers spill or an array is indexed at run time";
    let mut faults: Vec<String> =
        spilled.map(|column| format!("{name}: {column} is {}, {reason}", figures[column])).collect();
    match wanted.rows.get(key) {
        None => faults.push(format!("{name}: not in budget.tsv")),
        Some(before) => {
            let changed = COLUMNS.into_iter().filter(|column| before[column] != figures[column]);
            let changed: Vec<String> =
                changed.map(|column| format!("{column} {} -> {}", before[column], figures[column])).collect();
            faults.extend((!changed.is_empty()).then(|| format!("{name}: {}", changed.join(", "))));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
source\tkernel\tarch\tcompiler\tregisters\tshared\tstack\tLDL\tSTL\tHMMA\tLDSM\tLDGSTS
copy\tcopy_kernel\tsm_80\tnvcc13.0\t8\t0\t0\t0\t0\t0\t0\t0
linear\tlinear_kernel\tsm_80\tnvcc13.0\t128\t1024\t0\t0\t0\t64\t8\t4
";

    fn changed(from: &str, to: &str) -> Vec<String> {
        assert!(TEXT.contains(from), "{from}");
        let wanted = Table::parse(TEXT).unwrap();
        Table::parse(&TEXT.replacen(from, to, 1)).unwrap().faults(&wanted, &["linear"])
    }

    #[test]
    fn a_table_is_read_as_it_is_written() {
        let table = Table::parse(TEXT).unwrap();
        assert_eq!(table.text(), TEXT);
        assert_eq!(Table::parse_rows(&table.rows_text()), Some(table));
        for bad in ["", "source\tkernel\n", &TEXT.replace("128", "x"), &TEXT.replace("\t4\n", "\n")] {
            assert!(Table::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_fault_is_told() {
        let copy = "copy copy_kernel sm_80 nvcc13.0";
        let spilled = "wanted 0: registers spill or an array is indexed at run time";
        assert_eq!(changed("", ""), [""; 0]);
        assert_eq!(
            changed("\t8\t0\t0\t0\t0\t0\t0\t0", "\t9\t0\t0\t0\t0\t0\t0\t0"),
            [format!("{copy}: registers 8 -> 9")]
        );
        let both = [format!("{copy}: LDL 0 -> 2"), format!("{copy}: LDL is 2, {spilled}")];
        assert_eq!(changed("\t8\t0\t0\t0", "\t8\t0\t0\t2"), both);
        let other =
            [format!("{copy}: no longer there"), "copy new_kernel sm_80 nvcc13.0: not in budget.tsv".to_owned()];
        assert_eq!(changed("copy_kernel", "new_kernel"), other);
        let lost = ["linear linear_kernel sm_80 nvcc13.0: HMMA 64 -> 0", "linear sm_80 nvcc13.0: no kernel holds HMMA"];
        assert_eq!(changed("\t64\t", "\t0\t"), lost);
    }
}
