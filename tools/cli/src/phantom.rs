//! `phantom`: synthetic patients, the one source of volumes and truth where no scan is at hand.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use clap::Args;
use med2e3_loaders::volume;
use med2e3_phantom::{Case, Item, Plane, SIDES_MIN, Scan};
use rayon::prelude::*;

use crate::args;
use crate::failure::{Failure, Result};
use crate::output::{self, Then};
use crate::progress::Bars;

/// Make a synthetic CT, with questions about it and their answers
#[derive(Debug, Args)]
pub struct Phantom {
    /// Which patient
    #[arg(long, value_name = "S")]
    seed: u64,
    /// How many patients, with the seeds S, S+1, ...; more than one needs a folder
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=COUNT_MAX))]
    count: u64,
    /// .npy: prepared for a model, within 0..1; .nii.gz: an axial scan in HU; a folder: one .npy for each patient, and
    /// truth.json
    #[arg(long, value_name = "FILE.npy|FILE.nii.gz|DIR")]
    out: PathBuf,
    /// Where the questions, answers and findings go [default: truth.json in a folder, none for a file]
    #[arg(long, value_name = "FILE.json")]
    truth: Option<PathBuf>,
    /// Slices, rows and columns
    #[arg(long, value_name = "N,H,W", default_value = "32,64,64", value_parser = size)]
    size: [usize; 3],
    /// Beside each volume of a folder also phantom_S_lesion.npy: 1 where a voxel is more lesion than not, else 0
    #[arg(long)]
    lesions: bool,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
}

/// Most patients of one folder: 50 GB of volumes at the default size.
const COUNT_MAX: u64 = 100_000;
const TRUTH: &str = "truth.json";

fn size(text: &str) -> Result<[usize; 3], String> {
    let size = args::size::size(text)?;
    if size.iter().zip(SIDES_MIN).all(|(&side, min)| side >= min) {
        Ok(size)
    } else {
        Err(format!("wanted at least {SIDES_MIN:?}, so that every lesion can be seen"))
    }
}

/// What `--out` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Npy,
    Nifti,
    Folder,
}

impl Form {
    /// By the name's end; a name without one, or of a folder that exists, is a folder's.
    fn of(path: &Path) -> Result<Self> {
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        match name {
            _ if path.is_dir() => Ok(Self::Folder),
            name if name.ends_with(".npy") => Ok(Self::Npy),
            name if name.ends_with(".nii.gz") => Ok(Self::Nifti),
            name if !name.contains('.') => Ok(Self::Folder),
            _ => {
                let shown = path.display();
                Err(Failure::usage(format!(
                    "{shown}: has no ending that is written; give .npy, .nii.gz, or a folder without a dot"
                )))
            }
        }
    }
}

impl Phantom {
    /// Makes the patients.
    pub fn run(&self) -> Result<()> {
        let form = Form::of(&self.out)?;
        self.check(form)?;
        match form {
            Form::Folder => self.write_folder(),
            Form::Npy | Form::Nifti => self.write_one(form),
        }
    }

    /// Refuses, before any work is done, what could not be written.
    fn check(&self, form: Form) -> Result<()> {
        if form == Form::Folder {
            output::check_folder_target(&self.out)?;
        } else {
            output::check_target(&self.out, self.force)?;
            if self.lesions {
                let shown = self.out.display();
                return Err(Failure::usage(format!("{shown}: is one file, --lesions writes more; give a folder")));
            }
            if self.count > 1 {
                let shown = self.out.display();
                let count = self.count;
                return Err(Failure::usage(format!("{shown}: is one file, for {count} patients; give a folder")));
            }
        }
        if self.seed.checked_add(self.count - 1).is_none() {
            let seed = self.seed;
            let count = self.count;
            return Err(Failure::usage(format!("seed {seed} has no {count} seeds after it; give a smaller one")));
        }
        let Some(truth) = &self.truth else { return Ok(()) };
        output::check_distinct(&[&self.out, truth])?;
        output::check_target(truth, self.force)
    }

    /// The truth comes after the volumes where it has a file of its own.
    fn after_volumes(&self) -> Then {
        if self.truth.is_some() { Then::More } else { Then::Done }
    }

    fn write_one(&self, form: Form) -> Result<()> {
        let mut case = Case::new(self.seed);
        if form == Form::Nifti {
            // A scanner's slices; any reader would turn other planes to these by the affine.
            case.plane = Plane::Axial;
        }
        let scan = Scan::new(&case, self.size);
        output::write_file(&self.out, self.force, self.after_volumes(), |path| match form {
            Form::Nifti => {
                med2e3_phantom::write_nifti(path, &scan).map_err(|error| output::cannot_write(&self.out, &error))
            }
            Form::Npy | Form::Folder => Ok(volume::write_npy(path, scan.dims, &scan.prepared())?),
        })?;
        let Some(truth) = &self.truth else { return Ok(()) };
        let name = self.out.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let items = json(&med2e3_phantom::items(&case, scan.lesion_slices, &name))?;
        output::write_bytes(truth, self.force, Then::Done, items.as_bytes())
    }

    fn write_folder(&self) -> Result<()> {
        let mut items = Vec::new();
        output::write_folder(&self.out, self.after_volumes(), |folder| {
            std::fs::create_dir(folder).map_err(|error| output::cannot_write(&self.out, &error))?;
            items = self.write_volumes(folder)?;
            match &self.truth {
                Some(_) => Ok(()),
                None => output::write_bytes(&folder.join(TRUTH), false, Then::More, json(&items)?.as_bytes()),
            }
        })?;
        match &self.truth {
            Some(truth) => output::write_bytes(truth, self.force, Then::Done, json(&items)?.as_bytes()),
            None => Ok(()),
        }
    }

    /// Writes a .npy for each patient; their questions, in order of the seeds.
    fn write_volumes(&self, folder: &Path) -> Result<Vec<Item>> {
        let bars = Mutex::new((Bars::new(), 0));
        let one = |index: u64| -> Result<Vec<Item>> {
            let case = Case::new(self.seed + index);
            let scan = Scan::new(&case, self.size);
            let name = format!("phantom_{}.npy", case.seed);
            volume::write_npy(&folder.join(&name), scan.dims, &scan.prepared())?;
            if self.lesions {
                let mut lesion: Vec<f32> = scan.lesion.iter().map(|&is| f32::from(u8::from(is))).collect();
                lesion.resize(scan.hu.len(), 0.0);
                volume::write_npy(&folder.join(format!("phantom_{}_lesion.npy", case.seed)), scan.dims, &lesion)?;
            }
            let (bars, done) = &mut *bars.lock().unwrap_or_else(PoisonError::into_inner);
            *done += 1;
            bars.show("phantoms", *done, self.count);
            Ok(med2e3_phantom::items(&case, scan.lesion_slices, &name))
        };
        let items: Result<Vec<Vec<Item>>> = (0..self.count).into_par_iter().map(one).collect();
        Ok(items?.concat())
    }
}

fn json(items: &[Item]) -> Result<String> {
    med2e3_phantom::items_json(items)
        .map_err(|error| Failure::runtime(format!("cannot write the truth as JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_show_every_lesion_are_accepted() {
        for (text, ok) in
            [("32,64,64", true), ("16,32,32", true), ("15,64,64", false), ("32,31,64", false), ("1", false)]
        {
            assert_eq!(size(text).is_ok(), ok, "{text}");
        }
    }

    #[test]
    fn names_decide_what_is_written() {
        let form = |name: &str| Form::of(name.as_ref());
        assert_eq!(form("a/b.npy").unwrap(), Form::Npy);
        assert_eq!(form("b.NII.GZ").unwrap(), Form::Nifti);
        assert_eq!(form("a.b/c").unwrap(), Form::Folder);
        for bad in ["a.nii", "a.json", "a.gz", "a.b"] {
            assert!(form(bad).is_err(), "{bad}");
        }
    }
}
