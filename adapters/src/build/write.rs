//! Writing layers into the layout: several at a time, each in one pass.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use assay_core::oci::FormatVersion;
use assay_core::oci::layer::{EntryHead, FinishedLayer, LayerWriter, TarWriter};
use assay_core::oci::media_type::LayerCodec;
use rayon::ThreadPool;

use super::context::Context;
use super::{BuildError, BuildRequest, Content, block_cache, output_error};
use crate::store::Layout;

/// Most layers written at the same time; each holds a few blocks in memory.
const TOGETHER: usize = 4;

/// A layer to be written.
pub(super) struct Job {
    pub(super) place: usize,
    pub(super) name: String,
    pub(super) entries: Vec<(EntryHead, Option<Content>)>,
    pub(super) codec: LayerCodec,
}

pub(super) type Key = Vec<usize>;

pub(super) fn all(
    jobs: BTreeMap<Key, Job>,
    context: &Context,
    layout: &Layout,
    format: FormatVersion,
    request: &BuildRequest,
) -> Result<BTreeMap<Key, FinishedLayer>, BuildError> {
    let threads = request.threads.max(1);
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|_| BuildError::Interrupted)?);
    let waiting = Mutex::new(jobs.into_iter().collect::<Vec<_>>());
    let done: Mutex<BTreeMap<Key, FinishedLayer>> = Mutex::default();
    // Of several failures the one of the lowest layer is told, whichever came first.
    let failed: Mutex<Option<(usize, BuildError)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..threads.min(TOGETHER) {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().ok().and_then(|mut waiting| waiting.pop());
                    let Some((key, job)) = next else { return };
                    match one(&job, context, layout, format, request, &pool) {
                        Ok(layer) => {
                            if let Ok(mut done) = done.lock() {
                                done.insert(key, layer);
                            }
                        }
                        Err(error) => {
                            if let Ok(mut failed) = failed.lock()
                                && failed.as_ref().is_none_or(|(place, _)| job.place < *place)
                            {
                                *failed = Some((job.place, error));
                            }
                            if let Ok(mut waiting) = waiting.lock() {
                                waiting.retain(|(_, other)| other.place < job.place);
                            }
                        }
                    }
                }
            });
        }
    });
    if let Some((_, error)) = failed.into_inner().map_err(|_| BuildError::Interrupted)? {
        return Err(error);
    }
    done.into_inner().map_err(|_| BuildError::Interrupted)
}

fn one(
    job: &Job,
    context: &Context,
    layout: &Layout,
    format: FormatVersion,
    request: &BuildRequest,
    pool: &Arc<ThreadPool>,
) -> Result<FinishedLayer, BuildError> {
    let output = output_error(layout.dir());
    let layer_error = |source| BuildError::Layer { layer: job.place + 1, name: job.name.clone(), source };
    let temporary = tempfile::Builder::new().prefix(".assay-").tempfile_in(layout.dir()).map_err(&output)?;
    let sink = io::BufWriter::with_capacity(256 * 1024, temporary);
    let writer = LayerWriter::new(sink, job.codec, format, Arc::clone(pool), block_cache(request)).map_err(layer_error)?;
    let mut tar = TarWriter::new(writer);
    // A cursor of its own: each thread walks its own directories.
    let context = context.with_own_cursor();
    for (head, content) in &job.entries {
        let write_error =
            |source| BuildError::Write { layer: job.place + 1, name: job.name.clone(), path: head.path.to_string(), source };
        let mut reader: Box<dyn Read + '_> = match content {
            None => Box::new(io::empty()),
            Some(Content::Source(path)) => Box::new(context.file(path)?),
            Some(Content::Spooled { spool, offset, size }) => {
                Box::new(BufReader::with_capacity(64 * 1024, spool.section(*offset, *size)))
            }
            Some(Content::Bytes(bytes)) => Box::new(bytes.as_slice()),
        };
        tar.entry(head, &mut *reader).map_err(write_error)?;
    }
    let end_error = |source| BuildError::Write {
        layer: job.place + 1,
        name: job.name.clone(),
        path: "the end of the archive".to_owned(),
        source,
    };
    let writer = tar.finish().map_err(end_error)?;
    let (layer, sink) = writer.finish().map_err(layer_error)?;
    let temporary = sink.into_inner().map_err(|error| output(error.into_error()))?;
    adopt(temporary, layout, &layer)?;
    Ok(layer)
}

/// Gives a written file its name as a blob: complete on disk before it appears.
fn adopt(temporary: tempfile::NamedTempFile, layout: &Layout, layer: &FinishedLayer) -> Result<(), BuildError> {
    let path = layout.blob_path(&layer.digest);
    let output = output_error(&path);
    let file = temporary.as_file();
    file.set_permissions(fs::Permissions::from_mode(0o644)).map_err(&output)?;
    file.sync_all().map_err(&output)?;
    temporary.persist(&path).map_err(|error| output(error.error))?;
    if let Some(directory) = path.parent() {
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(&output)?;
    }
    Ok(())
}
