//! What makes DICOM files one stack, on slices written by hand.

#[path = "volume_support/dicom_file.rs"]
mod dicom_file;

use dicom_file::DicomSlice;
use med2e3_loaders::volume::{Problem, RawVolume, VolumeOptions, parse_dicom_files};

fn read(slices: &[DicomSlice], options: &VolumeOptions) -> Result<RawVolume, Problem> {
    parse_dicom_files(&slices.iter().map(DicomSlice::file).collect::<Vec<_>>(), options)
}

fn refused(slices: &[DicomSlice]) -> String {
    let problem = read(slices, &VolumeOptions::default()).expect_err("not one stack");
    let file = problem.file.as_ref().map_or(String::new(), |file| file.display().to_string());
    format!("{file}: {}; {}", problem.finding, problem.remedy)
}

fn axial(count: u32) -> Vec<DicomSlice> {
    (1..=count).map(DicomSlice::axial).collect()
}

/// Files in any order come out superior first, in Hounsfield units.
#[test]
fn position_decides_the_order() {
    let mut slices = axial(4);
    slices.swap(0, 2);
    let volume = read(&slices, &VolumeOptions::default()).expect("a stack");
    assert_eq!((volume.dims, volume.info.spacing_mm), ([4, 6, 8], Some([2.0, 0.5, 0.5])));
    let firsts: Vec<f32> = volume.voxels.iter().copied().step_by(48).collect();
    assert_eq!(firsts, [-600.0, -700.0, -800.0, -900.0]);
}

/// Each thing that must be the same, or regular, is missed by one slice, which is named.
#[test]
fn the_odd_slice_is_named() {
    let mut wider = axial(4);
    wider[2].columns = 10;
    assert_eq!(
        refused(&wider),
        "003.dcm: has rows and columns [6, 10], but 001.dcm has [6, 8]; \
         give a folder that holds only the slices of one stack"
    );
    let mut turned = axial(4);
    turned[0].orientation = "0\\1\\0\\0\\0\\-1";
    assert!(refused(&turned).starts_with("001.dcm: has orientation"), "{}", refused(&turned));
    let mut twice = axial(4);
    twice[3].position = twice[1].position;
    assert!(refused(&twice).contains("is at the same place as"), "{}", refused(&twice));
    let mut aside = axial(4);
    aside[1].position[0] += 3.0;
    assert!(refused(&aside).contains("002.dcm: lies 3.00 mm beside"), "{}", refused(&aside));
    let mut nowhere = axial(4);
    nowhere[1].orientation = "";
    assert!(refused(&nowhere).starts_with("002.dcm: has orientation none"), "{}", refused(&nowhere));
}

/// A gap of more than 1 % is an error unless it is allowed; less is none.
#[test]
fn gaps_are_measured_against_the_spacing() {
    let mut uneven = axial(5);
    uneven[4].position[2] += 0.021;
    assert!(refused(&uneven).contains("2.000 mm apart, but 2.021 mm between 004.dcm and 005.dcm"));
    let allowed = VolumeOptions { allow_gaps: true, ..VolumeOptions::default() };
    assert_eq!(read(&uneven, &allowed).expect("allowed").dims, [5, 6, 8]);
    uneven[4].position[2] -= 0.002;
    assert!(read(&uneven, &VolumeOptions::default()).is_ok());
}

/// Two series in one folder are volumes to choose from.
#[test]
fn several_volumes_are_listed() {
    let mut series = axial(5);
    series[4].series = 2;
    let text = refused(&series);
    assert!(text.contains("holds 2 volumes (0: CT \"no description\", 4 slices of 6x8; 1: CT"), "{text}");
    let index = |index| VolumeOptions { index: Some(index), ..VolumeOptions::default() };
    assert_eq!(read(&series, &index(1)).expect("the second").dims, [1, 6, 8]);
}

/// Slices that shift evenly are a tilted gantry: read, with a note.
#[test]
fn a_tilted_gantry_is_noted() {
    let mut tilted = axial(5);
    tilted.iter_mut().for_each(|slice| slice.position[1] += 0.5 * slice.position[2]);
    let volume = read(&tilted, &VolumeOptions::default()).expect("a sheared stack");
    assert!(volume.info.notes.iter().any(|note| note.contains("tilted by 26.6 degrees")), "{:?}", volume.info.notes);
}
