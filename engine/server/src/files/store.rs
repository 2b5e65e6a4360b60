//! The files that are kept, each known to its key alone.
use super::upload::Upload;
use crate::error::{ApiError, Result};
use crate::keys::Owner;
use crate::reader::{self, ReadOptions, Scan};
use crate::shared::{Shared, now, random_id};
use crate::spool::SpoolFile;
use axum::http::StatusCode;
use med2e3::ContentHash;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many other readings of a file are kept: with another window, say.
const READINGS_MAX: usize = 4;

/// A scan that was uploaded.
pub(crate) struct Stored {
    pub id: String,
    owner: Owner,
    pub purpose: &'static str,
    name: String,
    created: u64,
    expires: u64,
    raw: SpoolFile,
    /// How it is read unless a question says otherwise.
    pub options: ReadOptions,
    scan: Arc<Scan>,
    others: tokio::sync::Mutex<Vec<(ReadOptions, Arc<Scan>)>>,
}

impl Stored {
    /// Decodes an upload.
    ///
    /// # Errors
    /// 422 for what is no scan.
    pub async fn new(shared: &Shared, owner: Owner, upload: Upload, size: [usize; 3]) -> Result<Self> {
        let scan = Arc::new(reader::read(shared, &upload.file, &upload.options, size).await?);
        let created = now();
        Ok(Self {
            id: random_id("file-")?,
            owner,
            purpose: upload.purpose,
            name: upload.name,
            created,
            expires: created.saturating_add(upload.lifetime),
            raw: upload.file,
            options: upload.options,
            scan,
            others: tokio::sync::Mutex::new(Vec::new()),
        })
    }

    /// OpenAI's object, and what is known of the scan.
    pub fn object(&self) -> Value {
        let mut object = json!({
            "id": self.id,
            "object": "file",
            "bytes": self.raw.bytes(),
            "created_at": self.created,
            "expires_at": self.expires,
            "filename": self.name,
            "purpose": self.purpose,
            "status": "processed",
        });
        if let (Value::Object(object), Value::Object(report)) = (&mut object, &self.scan.report) {
            object.extend(report.clone());
        }
        object
    }

    /// What tells its volume from others.
    pub fn hash(&self) -> ContentHash {
        self.scan.hash
    }

    /// The scan as `options` say.
    pub async fn scan(&self, shared: &Shared, options: &ReadOptions, size: [usize; 3]) -> Result<Arc<Scan>> {
        if *options == self.options {
            return Ok(self.scan.clone());
        }
        // Locked while it is read, so that many questions with one window have it read once.
        let mut others = self.others.lock().await;
        if let Some((_, scan)) = others.iter().find(|(known, _)| known == options) {
            return Ok(scan.clone());
        }
        let scan = Arc::new(reader::read(shared, &self.raw, options, size).await?);
        if others.len() == READINGS_MAX {
            others.remove(0);
        }
        others.push((options.clone(), scan.clone()));
        Ok(scan)
    }
}

/// All files, oldest first.
pub(crate) struct Store {
    files: Mutex<Files>,
    most: usize,
}

#[derive(Default)]
struct Files {
    by_id: HashMap<String, (u64, Arc<Stored>)>,
    /// How many there have been.
    count: u64,
}

impl Store {
    /// Room for so many.
    pub fn new(most: usize) -> Self {
        Self { files: Mutex::default(), most }
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().by_id.len()
    }

    /// Keeps a file.
    ///
    /// # Errors
    /// 507 if there are as many as there may be.
    pub fn insert(&self, stored: Stored) -> Result<()> {
        let mut files = self.lock();
        if files.by_id.len() >= self.most {
            let message = format!("the server keeps {} files, as many as it may; delete some", self.most);
            return Err(ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "too_many_files", message));
        }
        files.count += 1;
        let count = files.count;
        files.by_id.insert(stored.id.clone(), (count, Arc::new(stored)));
        Ok(())
    }

    /// The file of this id, if it is `owner`'s and has not expired.
    ///
    /// # Errors
    /// 404, whichever of these it is.
    pub fn get(&self, id: &str, owner: Owner, now: u64) -> Result<Arc<Stored>> {
        let files = self.lock();
        let found = files.by_id.get(id).map(|(_, stored)| stored).filter(|stored| stored.owner == owner);
        found.filter(|stored| now < stored.expires).cloned().ok_or_else(|| ApiError::no_file(id))
    }

    /// `owner`'s files, oldest first.
    pub fn list(&self, owner: Owner, now: u64) -> Vec<Arc<Stored>> {
        let files = self.lock();
        let mine = files.by_id.values().filter(|(_, stored)| stored.owner == owner && now < stored.expires);
        let mut mine: Vec<_> = mine.cloned().collect();
        mine.sort_by_key(|(count, _)| *count);
        mine.into_iter().map(|(_, stored)| stored).collect()
    }

    /// Forgets a file; questions about it that run go on.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn remove(&self, id: &str, owner: Owner, now: u64) -> Result<()> {
        self.get(id, owner, now)?;
        self.lock().by_id.remove(id).map(drop).ok_or_else(|| ApiError::no_file(id))
    }

    /// Drops what has expired.
    pub fn sweep(&self, now: u64) {
        self.lock().by_id.retain(|_, (_, stored)| now < stored.expires);
    }
}
