import Glibc
import TestSupport
import Testing

@testable import AuthGateway

/// A folder of its own for files that change.
final class Folder {
    let path: String

    init() throws {
        var template = Array("/tmp/gateway-watch-XXXXXX".utf8CString)
        // The array is the function's to change, and ends in NUL.
        guard unsafe mkdtemp(&template) != nil else { throw Peer.Problem("mkdtemp") }
        path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    deinit { Folder.remove(path) }

    private static func remove(_ path: String) {
        if let entries = unsafe opendir(path) {
            // The entry is valid until the next call for the same folder.
            while let entry = unsafe readdir(entries) {
                let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                    unsafe pointer.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
                }
                if name == "." || name == ".." { continue }
                let child = path + "/" + name
                if unsafe unlink(child) != 0 { remove(child) }
            }
            unsafe closedir(entries)
        }
        unsafe rmdir(path)
    }

    subscript(name: String) -> String { path + "/" + name }

    /// Writes into the file that is there, or a new one.
    func write(_ text: String, to name: String) throws {
        let number = unsafe open(self[name], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard number >= 0 else { throw Peer.Problem("open") }
        defer { close(number) }
        let bytes = text.bytes
        // As many bytes as there are.
        guard unsafe Glibc.write(number, bytes, bytes.count) == bytes.count else { throw Peer.Problem("write") }
    }

    func rename(_ name: String, to new: String) throws {
        guard unsafe Glibc.rename(self[name], self[new]) == 0 else { throw Peer.Problem("rename") }
    }

    func remove(_ name: String) throws { guard unsafe unlink(self[name]) == 0 else { throw Peer.Problem("unlink") } }

    func makeFolder(_ name: String) throws {
        guard unsafe mkdir(self[name], 0o700) == 0 else { throw Peer.Problem("mkdir") }
    }

    /// `target` counts from the folder of the link.
    func link(_ name: String, to target: String) throws {
        guard unsafe symlink(target, self[name]) == 0 else { throw Peer.Problem("symlink") }
    }

    func setMode(_ mode: mode_t, of name: String) throws {
        guard unsafe chmod(self[name], mode) == 0 else { throw Peer.Problem("chmod") }
    }

    /// Sets the time of the last change of the contents.
    func setTime(_ seconds: Int, of name: String) throws {
        let times = [timespec(tv_sec: seconds, tv_nsec: 0), timespec(tv_sec: seconds, tv_nsec: 0)]
        // Two times are read, and there are two.
        guard unsafe utimensat(AT_FDCWD, self[name], times, 0) == 0 else { throw Peer.Problem("utimensat") }
    }
}

/// A watcher that expectations may ask.
final class Watch {
    private var watcher: FileWatcher

    init(_ watcher: FileWatcher) { self.watcher = watcher }

    convenience init(_ paths: [String]) { self.init(FileWatcher(paths)) }

    func hasChanged() -> Bool { watcher.hasChanged() }

    /// Looks three times at what holds still: the second look tells of a change, and no other one does.
    func tells() -> Bool {
        let looks = (0..<3).map { _ in hasChanged() }
        #expect(looks == [false, true, false] || looks == [false, false, false], "\(looks)")
        return looks[1]
    }
}

struct FileWatcherTests {
    @Test func `a change is told once, when it has held still for one look`() throws {
        let folder = try Folder()
        try folder.write("one", to: "a")
        try folder.write("one", to: "b")
        let watcher = Watch([folder["a"], folder["b"]])
        #expect(!watcher.tells())
        try folder.write("longer", to: "b")
        #expect(watcher.tells())
        #expect(!watcher.tells())
        // Still being written: no look sees what the one before saw.
        for length in 1...5 {
            try folder.write(String(repeating: "x", count: length), to: "a")
            #expect(!watcher.hasChanged())
        }
        #expect(watcher.hasChanged())
        #expect(!watcher.tells())
    }

    @Test func `contents of the same length and time are another file when they were moved into place`() throws {
        let folder = try Folder()
        try folder.write("one", to: "a")
        try folder.setTime(1_700_000_000, of: "a")
        let watcher = Watch([folder["a"]])
        try folder.write("two", to: "new")
        try folder.setTime(1_700_000_000, of: "new")
        try folder.rename("new", to: "a")
        #expect(watcher.tells())
    }

    @Test func `contents of the same length that keep their old time are seen`() throws {
        let folder = try Folder()
        try folder.write("one", to: "a")
        try folder.setTime(1_700_000_000, of: "a")
        let watcher = Watch([folder["a"]])
        try folder.write("two", to: "a")
        try folder.setTime(1_700_000_000, of: "a")
        #expect(watcher.tells())
    }

    @Test func `a secret that Kubernetes replaces is seen, although nothing at the path itself changes`() throws {
        let folder = try Folder()
        func fill(_ name: String) throws {
            try folder.makeFolder(name)
            for file in ["tls.crt", "tls.key"] {
                try folder.write("same length", to: "\(name)/\(file)")
                try folder.setTime(1_700_000_000, of: "\(name)/\(file)")
            }
        }
        try fill("..2024_1")
        try folder.link("..data", to: "..2024_1")
        for file in ["tls.crt", "tls.key"] { try folder.link(file, to: "..data/\(file)") }
        let watcher = Watch([folder["tls.crt"], folder["tls.key"]])
        #expect(!watcher.tells())
        try fill("..2024_2")
        #expect(!watcher.tells())
        try folder.link("..data_tmp", to: "..2024_2")
        try folder.rename("..data_tmp", to: "..data")
        #expect(watcher.tells())
        // The old ones go later, which changes nothing.
        for file in ["tls.crt", "tls.key"] { try folder.remove("..2024_1/\(file)") }
        #expect(!watcher.tells())
    }

    @Test func `a file that goes, stays away and comes back is told of each time`() throws {
        let folder = try Folder()
        try folder.write("one", to: "a")
        let watcher = Watch([folder["a"]])
        try folder.remove("a")
        #expect(watcher.tells())
        #expect(!watcher.tells())
        try folder.write("one", to: "a")
        #expect(watcher.tells())
        // A link that leads nowhere is a file that is away.
        try folder.remove("a")
        try folder.link("a", to: "nowhere")
        #expect(watcher.tells())
        try folder.write("one", to: "nowhere")
        #expect(watcher.tells())
    }

    @Test func `a file that is away for one look alone is told of once`() throws {
        let folder = try Folder()
        try folder.write("one", to: "a")
        let watcher = Watch([folder["a"]])
        try folder.remove("a")
        #expect(!watcher.hasChanged())
        try folder.write("two", to: "a")
        #expect(watcher.tells())
    }

    @Test func `a change that is taken back within one look is none`() throws {
        let folder = try Folder()
        try folder.write("one", to: "a")
        let watcher = Watch([folder["b"], folder["a"]])
        try folder.rename("a", to: "b")
        #expect(!watcher.hasChanged())
        try folder.rename("b", to: "c")
        #expect(watcher.tells())
        try folder.write("one", to: "b")
        #expect(!watcher.hasChanged())
        try folder.remove("b")
        #expect(!watcher.tells())
    }

    @Test func `a file that becomes unreadable, and readable again, is told of`() throws {
        let folder = try Folder()
        try folder.write("one", to: "a")
        let watcher = Watch([folder["a"]])
        try folder.setMode(0, of: "a")
        #expect(watcher.tells())
        try folder.setMode(0o600, of: "a")
        #expect(watcher.tells())
        #expect(!watcher.tells())
    }

    @Test func `nothing to watch never changes`() {
        let watcher = Watch([])
        #expect(!watcher.tells())
    }
}
