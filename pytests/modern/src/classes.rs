//! Classes: values, state, inheritance, enums, and one that takes part in garbage collection.

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyType;

/// A value: frozen, comparable, hashable.
#[pyclass(frozen, eq, hash, get_all, from_py_object, module = "modern")]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Point {
    x: i32,
    y: i32,
}

#[pymethods]
impl Point {
    #[new]
    #[pyo3(signature = (x=0, y=0))]
    fn new(x: i32, y: i32) -> Self {
        Point { x, y }
    }

    #[classmethod]
    fn from_text(_cls: &Bound<'_, PyType>, text: &str) -> PyResult<Self> {
        let (x, y) = text
            .split_once(',')
            .ok_or_else(|| PyValueError::new_err(format!("no comma in {text:?}")))?;
        Ok(Point::new(x.trim().parse()?, y.trim().parse()?))
    }

    #[classattr]
    const ORIGIN: Point = Point { x: 0, y: 0 };

    fn __add__(&self, other: &Point) -> Point {
        Point::new(self.x + other.x, self.y + other.y)
    }

    fn __repr__(&self) -> String {
        format!("Point({}, {})", self.x, self.y)
    }
}

/// State behind a property, and a context manager that undoes what a failed block did.
#[pyclass]
pub struct Account {
    balance: i64,
    before: Vec<i64>,
}

#[pymethods]
impl Account {
    #[new]
    fn new(balance: i64) -> Self {
        Account {
            balance,
            before: Vec::new(),
        }
    }

    #[getter]
    fn balance(&self) -> i64 {
        self.balance
    }

    #[setter]
    fn set_balance(&mut self, balance: i64) -> PyResult<()> {
        if balance < 0 {
            return Err(PyValueError::new_err("balance below zero"));
        }
        self.balance = balance;
        Ok(())
    }

    /// Holds the borrow while Python runs, so that a callback that comes back here is told so.
    fn update(&mut self, callback: &Bound<'_, PyAny>) -> PyResult<()> {
        self.balance = callback.call1((self.balance,))?.extract()?;
        Ok(())
    }

    fn __enter__(mut slf: PyRefMut<'_, Self>) -> PyRefMut<'_, Self> {
        let balance = slf.balance;
        slf.before.push(balance);
        slf
    }

    fn __exit__(
        &mut self,
        kind: Option<Bound<'_, PyAny>>,
        _value: Option<Bound<'_, PyAny>>,
        _traceback: Option<Bound<'_, PyAny>>,
    ) -> bool {
        if let (Some(before), true) = (self.before.pop(), kind.is_some()) {
            self.balance = before;
        }
        false
    }
}

#[pyclass(subclass)]
pub struct Animal {
    #[pyo3(get)]
    name: String,
}

#[pymethods]
impl Animal {
    #[new]
    fn new(name: String) -> Self {
        Animal { name }
    }

    fn sound(&self) -> &str {
        "..."
    }

    /// Asks through Python, so that an override in a subclass is heard.
    fn speak(slf: &Bound<'_, Self>) -> PyResult<String> {
        let sound: String = slf.call_method0("sound")?.extract()?;
        Ok(format!("{} says {sound}", slf.borrow().name))
    }
}

#[pyclass(extends = Animal, subclass)]
pub struct Dog;

#[pymethods]
impl Dog {
    #[new]
    fn new(name: String) -> PyClassInitializer<Self> {
        PyClassInitializer::from(Animal::new(name)).add_subclass(Dog)
    }

    fn sound(&self) -> &str {
        "woof"
    }
}

#[pyclass(eq, eq_int, rename_all = "SCREAMING_SNAKE_CASE")]
#[derive(PartialEq)]
pub enum Color {
    Red,
    DarkGreen,
}

/// An enum with data: each variant is a class of its own that `match` can take apart.
#[pyclass]
pub enum Shape {
    Circle { radius: f64 },
    Rectangle { width: f64, height: f64 },
}

#[pymethods]
impl Shape {
    fn area(&self) -> f64 {
        match self {
            Shape::Circle { radius } => std::f64::consts::PI * radius * radius,
            Shape::Rectangle { width, height } => width * height,
        }
    }
}

/// Holds a Python object, so it can be part of a cycle and must show the collector what it holds.
#[pyclass(weakref)]
pub struct Node {
    #[pyo3(get, set)]
    next: Option<Py<PyAny>>,
}

#[pymethods]
impl Node {
    #[new]
    fn new() -> Self {
        Node { next: None }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.next)
    }

    fn __clear__(&mut self) {
        self.next = None;
    }
}
