//! Numbers planted in the weights of a model, to see what becomes of them.
use crate::golden::Goldens;
use safetensors::SafeTensors;
use std::ops::Range;
use std::path::Path;
use tempfile::TempDir;

/// A golden model with all its weights as safetensors, in a folder of its own that vanishes when dropped.
pub struct Field {
    folder: TempDir,
}

/// What is planted where.
#[derive(Clone, Debug)]
pub struct Plant {
    /// Folder and name of the tensor, such as `llm/lm_head.weight`.
    pub tensor: &'static str,
    /// Its elements, row-major.
    pub elements: Range<usize>,
    /// Their new value.
    pub value: f32,
}

impl Field {
    /// Converts the golden model, whose weights must be bf16.
    ///
    /// # Panics
    /// If it cannot be converted.
    pub fn new(goldens: &Goldens, model: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let given = goldens.model_folder(model);
        med2e3_loaders::convert(given.path(), &folder.path().join("model"), None, &mut |_, _| ()).expect("a model");
        Self { folder }
    }

    /// The model's folder; sound but within [`Field::with`].
    pub fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("model")
    }

    /// Runs `test` on the folder with the numbers in it, then takes them out.
    ///
    /// # Panics
    /// If a tensor is not there or not bf16.
    pub fn with<T>(&self, plants: &[Plant], test: impl FnOnce(&Path) -> T) -> T {
        let sound: Vec<_> = plants.iter().map(|plant| self.plant(plant)).collect();
        let result = test(&self.path());
        for (path, bytes) in sound.into_iter().rev() {
            std::fs::write(path, bytes).expect("writable");
        }
        result
    }

    /// The file and its bytes from before.
    fn plant(&self, plant: &Plant) -> (std::path::PathBuf, Vec<u8>) {
        let (part, name) = plant.tensor.split_once('/').expect("a folder and a name");
        let path = self.path().join(part).join("model.safetensors");
        let sound = std::fs::read(&path).expect("converted");
        let (header, tensors) = SafeTensors::read_metadata(&sound).expect("a safetensors file");
        let info = tensors.info(name).unwrap_or_else(|| panic!("no tensor {}", plant.tensor));
        assert_eq!(info.dtype, safetensors::Dtype::BF16, "{}", plant.tensor);
        let data = 8 + header + info.data_offsets.0..8 + header + info.data_offsets.1;
        let mut bytes = sound.clone();
        let elements = bytes[data].as_chunks_mut::<2>().0;
        elements[plant.elements.clone()].fill(((plant.value.to_bits() >> 16) as u16).to_le_bytes());
        std::fs::write(&path, bytes).expect("writable");
        (path, sound)
    }
}
