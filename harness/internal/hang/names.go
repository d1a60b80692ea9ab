package hang

import (
	"regexp"
	"strings"

	"github.com/ianlancetaylor/demangle"
)

// Canonical returns the path of a native function in one form, however the compiler and the tool that read it write it:
//
//	std::sync::poison::mutex::Mutex<T>::lock::h4f6230125e64be56    legacy symbols
//	<std::sync::poison::mutex::Mutex<i32>>::lock                   v0 symbols
//	std::sync::poison::mutex::Mutex::lock                          DWARF, as gdb prints it
//
// are all std::sync::poison::mutex::Mutex::lock. Generic arguments, hashes and the suffixes of clones are removed; a method
// of a trait becomes one of its type, <T as Drop>::drop for example T::drop. DWARF does not name the type: what it has is
// module::{impl}::drop. Names of C are as they are.
func Canonical(name string) string {
	if strings.HasPrefix(name, "_R") || strings.HasPrefix(name, "_ZN") {
		name = demangle.Filter(name, demangle.NoParams)
	}
	name = clone.ReplaceAllString(name, "")
	name = legacyHash.ReplaceAllString(name, "")
	if !strings.Contains(name, "::") { // of C; or of Python, such as <lambda>
		return name
	}
	name = legacyEscapes.Replace(name)
	name = crateHash.ReplaceAllString(name, "")
	return braces.ReplaceAllString(erase(name), "{$1}")
}

var (
	legacyHash = regexp.MustCompile(`::h[0-9a-f]{16}$`)
	// crateHash is the disambiguator that v0 demanglers print after a crate's name.
	crateHash = regexp.MustCompile(`\[[0-9a-f]{8,16}\]`)
	// clone is what GCC and LLVM append to the copy of a function.
	clone         = regexp.MustCompile(`(\.(part|constprop|isra|lto_priv|cold|llvm)(\.\d+)?)+$`)
	legacyEscapes = strings.NewReplacer("_$LT$", "<", "$LT$", "<", "$GT$", ">", "$LP$", "(", "$RP$", ")", "$C$", ",",
		"$RF$", "&", "$BP$", "*",
		"_$u7b$", "{", "$u7b$", "{", "$u7d$", "}", "$u20$", " ", "$u27$", "'", "$u5b$", "[", "$u5d$", "]", "$u7e$", "~",
		"..", "::")
	// braces match {{closure}}, {closure#0}, {closure_env#0}, {impl#3}, {{vtable.shim}} and {shim:vtable#0}.
	braces = regexp.MustCompile(`\{+(?:vtable\.)?(closure|impl|shim|constant)[^{}]*\}+`)
)

// erase takes the generic arguments out of a path, and replaces an impl block by the path of its type.
func erase(name string) string {
	var out strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] != '<' {
			out.WriteByte(name[i])
			continue
		}
		end := closing(name, i)
		inner := name[i+1 : end]
		switch path := out.String(); {
		case strings.HasPrefix(inner, "impl "): // core::str::<impl str>::len, of legacy symbols
			_, implementer, found := cutTop(inner, " for ")
			if !found {
				implementer = inner[len("impl "):]
			}
			out.Reset()
			out.WriteString(erase(bareType(implementer)))
		case path == "": // <T>::f, <T as Trait>::f
			implementer, _, _ := cutTop(inner, " as ")
			out.WriteString(erase(bareType(implementer)))
		default:
			out.Reset()
			out.WriteString(strings.TrimSuffix(path, "::"))
		}
		i = end
	}
	return out.String()
}

// closing returns the index of the bracket that closes the one at start, or the length if none does.
func closing(name string, start int) int {
	depth := 0
	for i := start; i < len(name); i++ {
		switch {
		case name[i] == '<':
			depth++
		case name[i] == '>' && name[i-1] != '-': // not that of fn() -> T
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return len(name)
}

// cutTop is strings.Cut at a separator that is in no brackets.
func cutTop(text, separator string) (before, after string, found bool) {
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '<':
			i = closing(text, i)
		case strings.HasPrefix(text[i:], separator):
			return text[:i], text[i+len(separator):], true
		}
	}
	return text, "", false
}

// indirection matches what stands before the path of a type: references, pointers, lifetimes and dyn.
var indirection = regexp.MustCompile(`^(&|\*const |\*mut |mut |dyn |'\w+ |\()+`)

// bareType returns the path of a type without references and bounds: that of Any for &(dyn Any + Send).
func bareType(name string) string {
	short := indirection.ReplaceAllString(name, "")
	if short == name {
		return name
	}
	short, _, _ = cutTop(short, " + ")
	return strings.TrimSuffix(short, ")")
}

// paths compiles patterns of canonical paths. In a pattern, * matches any characters within one name, **:: and ::** match
// any number of names, even none, and {a,b} matches a or b.
func paths(patterns ...string) *regexp.Regexp {
	var all []string
	for _, pattern := range patterns {
		all = append(all, pathSyntax.Replace(regexp.QuoteMeta(pattern)))
	}
	return regexp.MustCompile(`^(?:` + strings.Join(all, "|") + `)$`)
}

var pathSyntax = strings.NewReplacer(`\*\*::`, `(?:.*::)?`, `::\*\*`, `(?:::.*)?`, `\*`, `[^:]*`,
	`\{`, `(?:`, `,`, `|`, `\}`, `)`)
