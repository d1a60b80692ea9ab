package extension

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// native is a crate that needs what a plain Debian system lacks.
type native struct {
	crate    string
	packages string // Debian's, https://packages.debian.org/bookworm
	// falls means that the crate has a copy of its own to fall back to: it needs the packages only if its build fails.
	falls bool
	// unless names a crate that brings the library along.
	unless string
}

// natives holds the crates of which the build needs packages of Debian, from what their own pages and build scripts ask
// for: https://crates.io/crates/NAME.
var natives = []native{
	{crate: "alsa-sys", packages: "libasound2-dev pkg-config"},
	{crate: "aws-lc-sys", packages: "cmake", falls: true},
	{crate: "bindgen", packages: "libclang-dev", falls: true},
	{crate: "bzip2-sys", packages: "libbz2-dev pkg-config", falls: true},
	{crate: "cairo-sys-rs", packages: "libcairo2-dev pkg-config"},
	{crate: "clang-sys", packages: "libclang-dev"},
	{crate: "cmake", packages: "cmake make"},
	{crate: "curl-sys", packages: "libcurl4-openssl-dev pkg-config", falls: true},
	{crate: "expat-sys", packages: "libexpat1-dev pkg-config cmake", falls: true},
	{crate: "ffmpeg-sys-next", packages: "libavcodec-dev libavdevice-dev libavfilter-dev libavformat-dev libavutil-dev " +
		"libswresample-dev libswscale-dev pkg-config libclang-dev"},
	{crate: "freetype-sys", packages: "libfreetype-dev pkg-config cmake", falls: true},
	{crate: "gdk-pixbuf-sys", packages: "libgdk-pixbuf-2.0-dev pkg-config"},
	{crate: "glib-sys", packages: "libglib2.0-dev pkg-config"},
	{crate: "gmp-mpfr-sys", packages: "m4 make", falls: true},
	{crate: "hdf5-metno-sys", packages: "libhdf5-dev pkg-config", unless: "hdf5-metno-src"},
	{crate: "hdf5-sys", packages: "libhdf5-dev pkg-config", unless: "hdf5-src"},
	{crate: "hidapi", packages: "libudev-dev libusb-1.0-0-dev pkg-config"},
	{crate: "krb5-sys", packages: "libkrb5-dev libclang-dev"},
	{crate: "lapack-sys", packages: "liblapack-dev", falls: true},
	{crate: "leveldb-sys", packages: "cmake make", falls: true},
	{crate: "libdbus-sys", packages: "libdbus-1-dev pkg-config"},
	{crate: "libffi-sys", packages: "make", falls: true},
	{crate: "libgit2-sys", packages: "pkg-config libgit2-dev", falls: true},
	{crate: "libgssapi-sys", packages: "libkrb5-dev libclang-dev"},
	{crate: "libseccomp-sys", packages: "libseccomp-dev", falls: true},
	{crate: "libsodium-sys", packages: "libsodium-dev pkg-config make", falls: true},
	{crate: "libsqlite3-sys", packages: "libsqlite3-dev pkg-config", falls: true},
	{crate: "libssh2-sys", packages: "libssh2-1-dev pkg-config", falls: true},
	{crate: "libudev-sys", packages: "libudev-dev pkg-config"},
	{crate: "libusb1-sys", packages: "libusb-1.0-0-dev pkg-config", falls: true},
	{crate: "libxml", packages: "libxml2-dev pkg-config libclang-dev"},
	{crate: "libz-sys", packages: "zlib1g-dev pkg-config", falls: true},
	{crate: "librocksdb-sys", packages: "libclang-dev g++"},
	{crate: "lzma-sys", packages: "liblzma-dev pkg-config", falls: true},
	{crate: "mysqlclient-sys", packages: "default-libmysqlclient-dev pkg-config"},
	{crate: "nasm-rs", packages: "nasm"},
	{crate: "netcdf-sys", packages: "libnetcdf-dev"},
	{crate: "onig_sys", packages: "libonig-dev pkg-config libclang-dev", falls: true},
	{crate: "openblas-src", packages: "libopenblas-dev pkg-config make gfortran", falls: true},
	{crate: "opencv", packages: "libopencv-dev libclang-dev clang"},
	{crate: "openssl-src", packages: "perl make"},
	{crate: "openssl-sys", packages: "libssl-dev pkg-config", unless: "openssl-src"},
	{crate: "pango-sys", packages: "libpango1.0-dev pkg-config"},
	{crate: "pcap", packages: "libpcap-dev"},
	{crate: "pq-sys", packages: "libpq-dev", unless: "pq-src"},
	{crate: "prost-build", packages: "protobuf-compiler"},
	{crate: "protobuf-src", packages: "cmake make g++"},
	{crate: "rdkafka-sys", packages: "librdkafka-dev pkg-config make g++ cmake zlib1g-dev", falls: true},
	{crate: "sasl2-sys", packages: "libsasl2-dev pkg-config"},
	{crate: "tikv-jemalloc-sys", packages: "make", falls: true},
	{crate: "yeslogic-fontconfig-sys", packages: "libfontconfig1-dev pkg-config"},
	{crate: "zmq-sys", packages: "libzmq3-dev pkg-config"},
	{crate: "zstd-sys", packages: "libzstd-dev pkg-config", falls: true},
}

var (
	// failedCrate matches cargo's message about a build script that fails.
	failedCrate = regexp.MustCompile("failed to run custom build command for `([\\w-]+) v")
	protoc      = regexp.MustCompile(`\bprotoc\b`)
	// missingTool matches what build scripts say about a program that is not installed. Each is a package of its name.
	missingTool = regexp.MustCompile("is `(cmake|perl|make|ninja|nasm|clang)` not installed")
)

// systemPackages returns the Debian packages that a failed build lacks: those of the crate that failed, and at once
// those of all other crates of the lock file that would fail next.
func systemPackages(log string, locked []string) (packages []string) {
	add := func(names ...string) {
		for _, name := range names {
			if !slices.Contains(packages, name) {
				packages = append(packages, name)
			}
		}
	}
	failed := map[string]bool{}
	for _, found := range failedCrate.FindAllStringSubmatch(log, -1) {
		failed[found[1]] = true
	}
	for _, each := range natives {
		if failed[each.crate] {
			add(strings.Fields(each.packages)...)
		}
	}
	for _, found := range missingTool.FindAllStringSubmatch(log, -1) {
		add(strings.ReplaceAll(found[1], "ninja", "ninja-build"))
	}
	if protoc.MatchString(log) {
		add("protobuf-compiler")
	}
	if strings.Contains(log, "libclang") {
		add("libclang-dev")
	}
	if len(packages) == 0 {
		return nil // the log is about something else
	}
	for _, each := range natives {
		if slices.Contains(locked, each.crate) && !each.falls && !slices.Contains(locked, each.unless) {
			add(strings.Fields(each.packages)...)
		}
	}
	return packages
}

// packagesText says which packages to name, and where.
func packagesText(packages []string) string {
	return fmt.Sprintf("a library or tool of the system is missing: system-packages = [\"%s\"] in [tool.pyo3test] installs "+
		"what the crates of Cargo.lock need (SystemPackages of a Suite)", strings.Join(packages, `", "`))
}
