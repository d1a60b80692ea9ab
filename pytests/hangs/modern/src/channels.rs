//! Channels between threads that are attached to the interpreter.

use std::sync::mpsc::channel;
use std::thread;

use pyo3::prelude::*;

/// Waits for an answer with the GIL held, which who answers needs: a `detach` around `recv` was forgotten.
#[pyfunction]
pub fn recv_attached(_py: Python<'_>) -> usize {
    let (sender, answers) = channel();
    thread::spawn(move || Python::attach(|_| sender.send(42)));
    answers.recv().unwrap() // hangs here: recv-attached
}

/// Sends into a channel that is full, with the GIL held; who would empty it is attached, and so waits for the GIL.
#[pyfunction]
pub fn channel_full(_py: Python<'_>) {
    let (sender, messages) = crossbeam_channel::bounded::<usize>(1);
    thread::spawn(move || {
        for message in messages {
            Python::attach(|_| message);
        }
    });
    for message in 0..3 {
        sender.send(message).unwrap(); // hangs here: channel-full
    }
}
