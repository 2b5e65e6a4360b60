//! The list of volumes that a folder holds: which there are, what each is called, and which one is meant.

use std::collections::{BTreeMap, HashMap};

use super::super::names::{listed, name_of};
use super::super::orientation::norm;
use super::super::{Problem, VolumeOptions};
use super::dataset::shown;
use super::image::SeriesKey;
use super::marks::MARKS;
use super::scan::Scanned;
use super::series::{Slice, normal_of};
use super::split::{is_localizer, same_shape, split};

/// Most marks in a label; more would say nothing new.
const MARKS_MAX: usize = 3;

/// Volumes that are named where there are several.
const LISTED_MAX: usize = 12;

/// A volume to choose.
pub(crate) struct Volume<'a> {
    pub(crate) series: &'a SeriesKey,
    pub(crate) slices: Vec<Slice<'a>>,
    /// One line, for lists of several.
    label: String,
}

/// All volumes, and the pictures in their series that belong to none.
pub(crate) struct Volumes<'a> {
    list: Vec<Volume<'a>>,
    odd: Vec<Slice<'a>>,
}

/// A volume that was chosen, and what the user should know about the choice.
pub(crate) struct Chosen<'a> {
    pub(crate) volume: Volume<'a>,
    pub(crate) by_user: bool,
    /// Whether it is the one scan among what can be read.
    pub(crate) is_only_scan: bool,
    pub(crate) notes: Vec<String>,
}

impl<'a> Volumes<'a> {
    /// The volumes of each series, lowest series number first.
    pub(crate) fn of(images: &'a [Scanned]) -> Self {
        let mut series: BTreeMap<&SeriesKey, Vec<Slice<'a>>> = BTreeMap::new();
        for Scanned { file, name, header } in images {
            let slices = series.entry(&header.identity.series).or_default();
            slices.extend((0..header.frames.len()).map(|index| Slice { file: *file, index, name, header }));
        }
        let mut volumes = Self { list: Vec::new(), odd: Vec::new() };
        for (series, slices) in series {
            let found = split(slices);
            let labels = labels(&found.volumes);
            let named = found.volumes.into_iter().zip(labels);
            volumes.list.extend(named.map(|(slices, label)| Volume { series, slices, label }));
            volumes.odd.extend(found.odd);
        }
        tell_series_apart(&mut volumes.list);
        volumes
    }

    /// The volume that is meant: the one asked for, or the only one beside localizers and stray pictures.
    pub(crate) fn choose(mut self, options: &VolumeOptions) -> Result<Chosen<'a>, Problem> {
        let mut notes = Vec::new();
        if let Some(wanted) = &options.series {
            self.keep_series(wanted)?;
        }
        let only_scan = self.only_scan();
        let index = match only_scan.filter(|_| options.index.is_none()) {
            Some(index) => {
                let aside = self.list.iter().enumerate().filter(|&(other, _)| other != index);
                for (other, volume) in aside {
                    let names: Vec<String> = file_names(&volume.slices);
                    let label = &volume.label;
                    notes.push(format!(
                        "{} left out, which is no part of the scan: {label}; --index {other} reads it",
                        listed(&names)
                    ));
                }
                index
            }
            None if options.index.is_none() && self.has_series_of_one_slice() => return Err(self.series_of_one_slice()),
            None => super::super::choose(self.list.len() as u64, options.index, || self.lines())? as usize,
        };
        if self.list.len() > 1 && options.index.is_some() {
            notes.push(format!("this is volume {index} of {}: {}", self.list.len(), self.list[index].label));
        }
        let volume = self.list.swap_remove(index);
        let odd: Vec<Slice<'a>> =
            self.odd.into_iter().filter(|odd| odd.header.identity.series == *volume.series).collect();
        if !odd.is_empty() {
            let names = file_names(&odd);
            notes
                .push(format!("pictures of another size or direction than the scan were left out: {}", listed(&names)));
        }
        Ok(Chosen {
            volume,
            by_user: options.index.is_some() || options.series.is_some(),
            is_only_scan: only_scan.is_some(),
            notes,
        })
    }

    /// Leaves the volumes of the series with this UID or number.
    fn keep_series(&mut self, wanted: &str) -> Result<(), Problem> {
        let number: Option<i64> = wanted.parse().ok();
        let is_wanted = |series: &SeriesKey| series.uid == wanted || number == Some(series.number);
        if !self.list.iter().any(|volume| is_wanted(volume.series)) {
            let mut known: Vec<String> = self.list.iter().map(|volume| shown_series(volume.series)).collect();
            known.dedup();
            let finding = format!("holds no series {:?}; it holds {}", shown(wanted), listed(&known));
            return Err(Problem::new(finding, "choose one of these by its number or UID with --series"));
        }
        self.list.retain(|volume| is_wanted(volume.series));
        self.odd.retain(|slice| is_wanted(&slice.header.identity.series));
        Ok(())
    }

    /// Whether all volumes are single slices of one shape at different places, each in a series of its own.
    fn has_series_of_one_slice(&self) -> bool {
        let first = &self.list[0];
        let alike = |volume: &Volume<'_>| volume.slices.len() == 1 && same_shape(&volume.slices[0], &first.slices[0]);
        self.list.len() > 2
            && self.list.iter().all(alike)
            && self.list.windows(2).all(|pair| pair[0].series != pair[1].series)
    }

    fn series_of_one_slice(&self) -> Problem {
        let finding = format!(
            "holds {} slices, each with a SeriesInstanceUID of its own, so nothing says that they are one scan",
            self.list.len()
        );
        Problem::new(finding, "give the series as the scanner exported it, or choose one slice with --index, from 0")
    }

    /// The one volume that is a scan, where all others are localizers, pictures without a place in the body, or single
    /// pictures of another shape.
    fn only_scan(&self) -> Option<usize> {
        let has_place = |slice: &Slice<'_>| slice.frame().position.is_some() && slice.frame().orientation.is_some();
        let is_scan =
            |volume: &Volume<'_>| !volume.slices.iter().all(is_localizer) && volume.slices.iter().all(has_place);
        let largest = self.list.iter().filter(|volume| is_scan(volume)).max_by_key(|volume| volume.slices.len())?;
        let is_stray = |volume: &Volume<'_>| {
            volume.slices.len() == 1 && largest.slices.len() > 1 && !same_shape(&volume.slices[0], &largest.slices[0])
        };
        let mut scans =
            (0..self.list.len()).filter(|&index| is_scan(&self.list[index]) && !is_stray(&self.list[index]));
        scans.next().filter(|_| scans.next().is_none())
    }

    /// The list as a line.
    fn lines(&self) -> String {
        let shown = self.list.iter().take(LISTED_MAX).enumerate();
        let mut lines: Vec<String> = shown.map(|(index, volume)| format!("{index}: {}", volume.label)).collect();
        if self.list.len() > lines.len() {
            lines.push("...".to_owned());
        }
        lines.join("; ")
    }
}

/// Number and UID of a series, for a message.
fn shown_series(series: &SeriesKey) -> String {
    match series.number {
        i64::MAX => format!("one without a number ({})", series.uid),
        number => format!("{number} ({})", series.uid),
    }
}

/// The files of the slices, each once.
fn file_names(slices: &[Slice<'_>]) -> Vec<String> {
    let mut names: Vec<String> = slices.iter().map(|slice| name_of(slice.name)).collect();
    names.dedup();
    names
}

/// A line about each volume of a series, with what tells it from the others.
fn labels(volumes: &[Vec<Slice<'_>>]) -> Vec<String> {
    let plain = volumes.iter().map(|slices| {
        let header = slices[0].header;
        let modality = header.modality.as_deref().unwrap_or("no modality");
        let description = header.description.as_deref().unwrap_or("no description");
        format!("{modality} {description:?}, {} slices of {}x{}", slices.len(), header.rows, header.columns)
    });
    let mut labels: Vec<String> = plain.collect();
    if volumes.len() == 1 {
        return labels;
    }
    let differing = |values: &Vec<String>| values.iter().any(|value| *value != values[0]);
    let shapes = [plane, spacing].map(|of| volumes.iter().map(|slices| of(&slices[0])).collect());
    let marks = (0..MARKS.len()).map(|mark| volumes.iter().map(|slices| value(slices, mark)).collect());
    for values in shapes.into_iter().chain(marks).filter(differing).take(MARKS_MAX) {
        labels.iter_mut().zip(values).for_each(|(label, value)| label.push_str(&format!(", {value}")));
    }
    labels
}

/// What the slices of a volume say under a mark.
fn value(slices: &[Slice<'_>], mark: usize) -> String {
    let mut values: Vec<&str> = slices.iter().map(|slice| slice.mark(mark)).collect();
    values.sort_unstable();
    let name = MARKS[mark].name;
    match (values[0], values[values.len() - 1]) {
        ("", "") => format!("no {name}"),
        (first, last) if first == last => format!("{name} {first}"),
        (first, last) if MARKS[mark].kind.is_time() => format!("{name} {first} to {last}"),
        _ => format!("several values of {name}"),
    }
}

/// The body plane that a slice is closest to.
fn plane(slice: &Slice<'_>) -> String {
    let Some(normal) = slice.frame().orientation.and_then(normal_of) else { return "without a direction".to_owned() };
    let along = |axis: usize| normal[axis].abs() / norm(&normal);
    let axis = (0..3).max_by(|&a, &b| along(a).total_cmp(&along(b))).unwrap_or(2);
    ["sagittal", "coronal", "axial"][axis].to_owned()
}

fn spacing(slice: &Slice<'_>) -> String {
    match slice.frame().spacing {
        Some([rows, columns]) => format!("pixels of {rows} x {columns} mm"),
        None => "pixels of unknown size".to_owned(),
    }
}

/// Adds the number of the series, or its UID, to labels that would read alike.
fn tell_series_apart(volumes: &mut [Volume<'_>]) {
    let number = |series: &SeriesKey| match series.number {
        i64::MAX => "no series number".to_owned(),
        number => format!("series {number}"),
    };
    let uid = |series: &SeriesKey| format!("SeriesInstanceUID {}", series.uid);
    let ways: [&dyn Fn(&SeriesKey) -> String; 2] = [&number, &uid];
    for way in ways {
        let mut times: HashMap<String, usize> = HashMap::new();
        volumes.iter().for_each(|volume| *times.entry(volume.label.clone()).or_default() += 1);
        for volume in volumes.iter_mut().filter(|volume| times[&volume.label] > 1) {
            volume.label = format!("{}, {}", volume.label, way(volume.series));
        }
    }
}
