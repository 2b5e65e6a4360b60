//! What holds for phantoms: lesions are where the truth says, planes show one patient, questions give nothing away.

use std::collections::BTreeMap;

use med2e3::{Cpu, Precision};
use med2e3_loaders::volume::{self, VolumeKind, VolumeOptions, Window, WindowChoice};

use crate::case::{Case, Lesion, Organ, Phase, Place, Plane, Side};
use crate::nifti::write_nifti;
use crate::painting::Painting;
use crate::questions::{Item, items, items_json};
use crate::scan::{DIMS, SIDES_MIN, Scan, WINDOW, paint, touched};
use crate::view::Point;

const CPU: Cpu = Cpu { precision: Precision::Exact };

/// FNV-1a.
fn digest(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Where each voxel lies, in order.
fn places(painting: &Painting) -> impl Iterator<Item = Point> + '_ {
    let view = &painting.view;
    let [slices, rows, columns] = view.dims;
    (0..slices * rows).flat_map(move |line| {
        (0..columns).map(move |column| {
            let mut at = view.row(line / rows, line % rows);
            at[view.column_axis()] = view.column(column);
            at
        })
    })
}

fn sick(seeds: std::ops::Range<u64>) -> impl Iterator<Item = Case> {
    seeds.map(Case::new).filter(|case| case.finding.is_some())
}

#[test]
fn every_slice_of_the_range_shows_the_lesion_and_no_other_does() {
    for case in sick(0..300) {
        let painting = paint(&case, DIMS);
        let [first, last] = touched(&painting).unwrap_or_else(|| panic!("{case:?}: cannot be seen"));
        assert!(first < last, "{case:?}: in slice {first} alone");
        for (slice, count) in painting.lesion_voxels().into_iter().enumerate() {
            assert_eq!((first..=last).contains(&slice), count >= 3, "{case:?}: slice {slice} has {count} voxels");
        }
    }
}

#[test]
fn lesions_lie_where_the_truth_says() {
    for case in sick(0..300) {
        let Some(finding) = case.finding else { continue };
        let painting = paint(&case, DIMS);
        let lesion = painting.lesion();
        let within: Vec<Point> = places(&painting).zip(lesion).filter_map(|(at, is)| is.then_some(at)).collect();
        let share = |test: fn(&Point) -> bool| within.iter().filter(|at| test(at)).count() as f32 / within.len() as f32;
        let left = share(|at| at[2] > 0.0);
        assert!(if finding.side == Side::Left { left > 0.9 } else { left < 0.1 }, "{case:?}: {left} left");
        // The diaphragm is a dome: the liver reaches up to -0.2, the lungs beside it down to 0.35.
        let beyond = if finding.place().in_chest { share(|at| at[0] > 0.4) } else { share(|at| at[0] < -0.3) };
        assert!(beyond < 0.02, "{case:?}: {beyond} beyond the diaphragm");
    }
}

/// The lesion stands out from what would be there without it, by more than the noise.
#[test]
fn lesions_can_be_seen() {
    for case in sick(0..200) {
        let Some(finding) = case.finding else { continue };
        let painting = paint(&case, DIMS);
        let lesion = painting.lesion();
        let sound = Scan::new(&Case { finding: None, ..case }, DIMS).prepared();
        let shown = Scan::new(&case, DIMS).prepared();
        assert!(lesion.iter().filter(|&&is| is).count() > 30, "{case:?}");
        let changes: Vec<f32> = lesion
            .iter()
            .zip(shown.iter().zip(&sound))
            .filter_map(|(&is, (shown, sound))| is.then_some(shown - sound))
            .collect();
        let mean = changes.iter().sum::<f32>() / changes.len() as f32;
        let size = changes.iter().map(|change| change.abs()).sum::<f32>() / changes.len() as f32;
        assert!(size > 0.09, "{case:?}: changes voxels by {size}");
        let brighter = match finding.lesion {
            Lesion::Mass | Lesion::Calcification | Lesion::Effusion => Some(true),
            Lesion::Nodule => Some(finding.organ == Organ::Lung),
            Lesion::Cyst => None,
        };
        assert!(brighter.is_none_or(|brighter| brighter == (mean > 0.0)), "{case:?}: changes voxels by {mean}");
    }
}

/// Heart, liver and spleen lie over the fluid, and what they hide is no lesion.
#[test]
fn hidden_fluid_is_not_counted() {
    let fluid = sick(0..200).filter(|case| case.finding.is_some_and(|finding| finding.lesion == Lesion::Effusion));
    let mut bright = 0;
    let mut all = 0;
    for case in fluid.filter(|case| case.phase != Phase::NonContrast) {
        let painting = paint(&case, DIMS);
        let lesion = painting.lesion();
        let hu = painting.into_hu();
        bright += lesion.iter().zip(&hu).filter(|&(&is, &hu)| is && hu > 58.0).count();
        all += lesion.iter().filter(|&&is| is).count();
    }
    assert!(bright * 25 < all, "{bright} of {all} voxels of fluid are as bright as an organ");
}

/// Each voxel of a plane, looked up at its place in the same patient's fine axial volume.
#[test]
fn planes_show_one_patient() {
    let fine_dims = [96, 96, 96];
    for seed in 0..3 {
        let case = |plane| Case { plane, ..Case::new(seed) };
        let fine = Scan::new(&case(Plane::Axial), fine_dims).prepared();
        for plane in Plane::ALL {
            let painting = paint(&case(plane), DIMS);
            let shown = Scan::new(&case(plane), DIMS).prepared();
            let mut sum = 0.0;
            let mut count = 0;
            for (at, shown) in places(&painting).zip(shown) {
                if at.iter().any(|x| x.abs() >= 1.0) {
                    continue;
                }
                let [z, y, x] = [0, 1, 2].map(|axis| ((at[axis] + 1.0) * 0.5 * fine_dims[axis] as f32) as usize);
                sum += (fine[(z * fine_dims[1] + y) * fine_dims[2] + x] - shown).abs();
                count += 1;
            }
            // Edges are blurred more in the coarse volume; a mirrored axis gives 0.08 and more.
            let mean = sum / count as f32;
            assert!(mean < 0.045, "seed {seed}, {plane}: voxels differ by {mean}");
            assert!(count * 2 > shown_count(DIMS), "seed {seed}, {plane}: {count} voxels in the box");
        }
    }
}

fn shown_count(dims: [usize; 3]) -> usize {
    dims.iter().product()
}

#[test]
fn contrast_is_where_the_phase_says() {
    let brightness = |phase, place: Point| {
        let case = Case { phase, plane: Plane::Axial, finding: None, ..Case::new(5) };
        let scan = Scan::new(&case, DIMS);
        let [z, y, x] = [0, 1, 2].map(|axis| ((place[axis] + 1.0) * 0.5 * DIMS[axis] as f32) as usize);
        scan.hu[(z * DIMS[1] + y) * DIMS[2] + x]
    };
    let aorta = [0.48, 0.38, 0.07];
    let liver = [0.24, -0.2, -0.45];
    let rank = |place| {
        let mut phases = Phase::ALL;
        phases.sort_by(|a, b| brightness(*b, place).total_cmp(&brightness(*a, place)));
        phases
    };
    assert_eq!(rank(aorta), [Phase::Arterial, Phase::PortalVenous, Phase::Delayed, Phase::NonContrast]);
    assert_eq!(rank(liver)[0], Phase::PortalVenous);
}

/// The digests of four seeds hold on every machine: nothing is computed that IEEE 754 leaves open.
#[test]
fn a_seed_gives_the_same_volume_and_truth_everywhere() {
    let of = |seed| {
        let case = Case::new(seed);
        let scan = Scan::new(&case, DIMS);
        let voxels = digest(scan.hu.iter().flat_map(|&hu| (hu as i16).to_le_bytes()));
        (voxels, digest(items_json(&items(&case, scan.lesion_slices, "a.npy")).unwrap().into_bytes()))
    };
    let found = [0, 1, 2, u64::MAX].map(of);
    let wanted = [
        (0x8237_7242_23a1_dd72, 0x0690_77d3_efb7_c99a),
        (0xee36_9775_0070_b887, 0xbb72_3a42_d8b7_7e0e),
        (0xf645_c9d1_be0b_1b67, 0xbd1b_a6f4_b705_e1dc),
        (0xfdd1_d007_6119_f805, 0x26ab_cab5_5fe9_fb44),
    ];
    assert_eq!(found, wanted, "found {found:#x?}");
}

#[test]
fn a_prepared_volume_is_kept_as_it_is_and_equals_the_windowed_scan() {
    let folder = tempfile::tempdir().unwrap();
    for case in (0..12).map(Case::new) {
        let scan = Scan::new(&case, DIMS);
        let path = folder.path().join("a.npy");
        volume::write_npy(&path, scan.dims, &scan.prepared()).unwrap();
        let options = VolumeOptions::default();
        let raw = volume::read_volume(&path, &options).unwrap();
        assert_eq!(raw.kind, VolumeKind::Prepared, "{case:?}");
        let prepared = med2e3::prepare(&CPU, &raw, DIMS, &options).unwrap();
        assert_eq!(prepared.crop, [[0, 32], [0, 64], [0, 64]], "{case:?}");
        assert_eq!(prepared.voxels, scan.prepared(), "{case:?}");
        assert_eq!(prepared.warnings, [""; 0]);
    }
    for seed in 0..3 {
        let scan = Scan::new(&Case { plane: Plane::Axial, ..Case::new(seed) }, DIMS);
        let path = folder.path().join("a.nii.gz");
        write_nifti(&path, &scan).unwrap();
        let window = WindowChoice::Given(Window::new(WINDOW[0], WINDOW[1]).unwrap());
        let options = VolumeOptions { window, ..VolumeOptions::default() };
        let raw = volume::read_volume(&path, &options).unwrap();
        assert_eq!((raw.dims, &raw.voxels), (DIMS, &scan.hu), "seed {seed}: stored left, back and down");
        let orientation = raw.info.orientation.as_ref().unwrap();
        assert_eq!((orientation.source_axes.as_str(), orientation.flipped), ("LPI", [false; 3]));
        assert_eq!(raw.info.spacing_mm, Some(scan.spacing_mm.map(f64::from)));
        assert_eq!(raw.info.notes, [""; 0]);
        assert_eq!(med2e3::prepare(&CPU, &raw, DIMS, &options).unwrap().voxels, scan.prepared(), "seed {seed}");
    }
}

#[test]
fn the_smallest_size_and_larger_ones_show_the_lesion() {
    for case in sick(0..60) {
        assert!(Scan::new(&case, SIDES_MIN).lesion_slices.is_some(), "{case:?}");
    }
    let case = Case::new(4);
    let slices = |dims| Scan::new(&case, dims).lesion_slices.unwrap();
    let coarse = slices(DIMS);
    let fine = slices([64, 96, 80]);
    assert!(fine[0].abs_diff(2 * coarse[0]) <= 2 && fine[1].abs_diff(2 * coarse[1] + 1) <= 2, "{coarse:?} {fine:?}");
}

/// Closed-ended questions of many patients, as wording, sorted choices, answer and letter.
struct Asked {
    topic: String,
    wording: String,
    choices: Vec<String>,
    answer: String,
    letter: char,
}

fn asked(seeds: std::ops::Range<u64>) -> Vec<Asked> {
    let closed = |item: Item| {
        let letter = item.answer_choice?;
        let (wording, listed) = item.question.split_once(" Choices: A. ").unwrap();
        let mut choices: Vec<String> = Vec::new();
        let mut rest = listed;
        for next in [" B. ", " C. ", " D. "] {
            let (choice, after) = rest.split_once(next).unwrap();
            choices.push(choice.to_owned());
            rest = after;
        }
        choices.push(rest.to_owned());
        let answer = choices["ABCD".find(letter).unwrap()].clone();
        assert_eq!(item.answer, format!("{letter}. {answer}"));
        choices.sort();
        choices.dedup();
        assert_eq!(choices.len(), 4, "{listed}");
        let id = serde_json::to_value(&item).unwrap()["id"].as_str().unwrap().to_owned();
        Some(Asked { topic: id.split('-').nth(1)?.to_owned(), wording: wording.to_owned(), choices, answer, letter })
    };
    seeds.flat_map(|seed| items(&Case::new(seed), Some([3, 5]), "a.npy")).filter_map(closed).collect()
}

/// What a strategy that knows the question alone gets right: learnt on one half, tried on the other.
///
/// Of n tries at one in four, a share within 4 standard deviations (sqrt(3 / 16 n)) is chance: 10 strategies and topics
/// at once exceed it in one of a thousand draws of seeds.
fn check_blind(name: &str, asked: &[Asked], key: impl Fn(&Asked) -> String, guess: impl Fn(&Asked) -> String) {
    let mut seen: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    let (known, tried) = asked.split_at(asked.len() / 2);
    for question in known {
        *seen.entry(key(question)).or_default().entry(guess(question)).or_default() += 1;
    }
    let best = |question: &Asked| {
        let counts = seen.get(&key(question))?;
        counts.iter().max_by_key(|(_, count)| **count).map(|(text, _)| text.clone())
    };
    let right = tried.iter().filter(|question| best(question) == Some(guess(question))).count();
    let share = right as f64 / tried.len() as f64;
    let bound = 4.0 * (3.0 / 16.0 / tried.len() as f64).sqrt();
    assert!((share - 0.25).abs() < bound, "{name}: {share} of {}, bound {bound}", tried.len());
}

#[test]
fn the_question_alone_gives_nothing_away() {
    let all = asked(0..8000);
    let mut topics: BTreeMap<String, Vec<Asked>> = BTreeMap::new();
    all.into_iter().for_each(|question| topics.entry(question.topic.clone()).or_default().push(question));
    assert_eq!(topics.len(), 5);
    for (topic, asked) in &topics {
        let choices = |question: &Asked| question.choices.join("|");
        check_blind(topic, asked, choices, |question| question.answer.clone());
        check_blind(topic, asked, |q| choices(q) + &q.wording, |question| question.answer.clone());
        check_blind(topic, asked, |question| question.wording.clone(), |question| question.letter.to_string());
        // Each set by itself: the answer that is true most often is not true too often.
        let mut sets: BTreeMap<String, BTreeMap<&str, usize>> = BTreeMap::new();
        for question in asked {
            *sets.entry(choices(question)).or_default().entry(&question.answer).or_default() += 1;
        }
        for (set, counts) in sets {
            let total = counts.values().sum::<usize>() as f64;
            let bound = 4.5 * (total * 3.0 / 16.0).sqrt();
            let worst = counts.values().map(|&count| (count as f64 - total / 4.0).abs()).fold(0.0, f64::max);
            assert!(counts.len() == 4 && worst < bound, "{topic}: {set}: {counts:?}");
        }
    }
}

#[test]
fn cases_are_balanced() {
    let cases: Vec<Case> = (0..8000).map(Case::new).collect();
    let share = |test: &dyn Fn(&Case) -> bool| cases.iter().filter(|case| test(case)).count() as f64 / 8000.0;
    let near = |found: f64, wanted: f64| (found - wanted).abs() < 4.0 * (wanted * (1.0 - wanted) / 8000.0).sqrt();
    for plane in Plane::ALL {
        assert!(near(share(&|case| case.plane == plane), 0.25), "{plane}");
    }
    for phase in Phase::ALL {
        assert!(near(share(&|case| case.phase == phase), 0.25), "{phase}");
    }
    assert!(near(share(&|case| case.finding.is_none()), 0.2));
    for place in Place::ALL {
        assert!(near(share(&|case| case.finding.is_some_and(|finding| finding.place() == place)), 0.2), "{place}");
    }
    for lesion in Lesion::ALL {
        let wanted = if lesion == Lesion::Effusion { 0.2 } else { 0.15 };
        assert!(near(share(&|case| case.finding.is_some_and(|finding| finding.lesion == lesion)), wanted), "{lesion}");
    }
    for organ in Organ::ALL {
        let wanted = if matches!(organ, Organ::Liver | Organ::Spleen) { 0.1 } else { 0.2 };
        assert!(near(share(&|case| case.finding.is_some_and(|finding| finding.organ == organ)), wanted), "{organ}");
    }
}

#[test]
fn captions_and_open_answers_say_the_truth() {
    let case = (0..).map(Case::new).find(|case| case.finding.is_some()).unwrap();
    let finding = case.finding.unwrap();
    let items = items(&case, Some([3, 5]), "a.npy");
    assert_eq!(items.len(), 11);
    let caption = items.last().unwrap().answer.to_lowercase();
    for word in [case.plane.to_string(), case.phase.to_string(), finding.lesion.to_string(), finding.organ.to_string()]
    {
        assert!(caption.contains(&word.to_lowercase()), "{caption}: {word}");
    }
    assert!(caption.contains(&finding.side.to_string().to_lowercase()), "{caption}");
    let sound = Case { finding: None, ..case };
    assert_eq!(super::questions::items(&sound, None, "a.npy").len(), 7, "no question about a lesion that is not there");
}
