internal import Glibc

/// How the loader looks at files; tests bring their own.
public protocol FileAccess: Sendable {
    /// Reads a whole regular file and who else may read it.
    func read(_ path: String, bytesMax: Int) throws(FileProblem) -> FileContents
}

/// A file's bytes and permissions.
public struct FileContents: Sendable {
    /// Everything in it.
    public var bytes: [UInt8]
    /// The permission bits, such as `0o600`.
    public var mode: UInt32

    /// Memberwise.
    public init(bytes: [UInt8], mode: UInt32) {
        self.bytes = bytes
        self.mode = mode
    }
}

/// Why a file could not be read, in words for an operator.
public struct FileProblem: Error, Sendable, Equatable {
    /// Such as `it does not exist`.
    public var reason: String

    /// Makes the problem.
    public init(_ reason: String) { self.reason = reason }
}

/// The machine's own files.
public struct SystemFiles: FileAccess {
    /// Needs nothing.
    public init() {}

    /// Reads a regular file; anything else, a file over the cap, or one without permission is a problem.
    public func read(_ path: String, bytesMax: Int) throws(FileProblem) -> FileContents {
        guard !path.utf8.contains(0) else { throw FileProblem("its name holds a NUL") }
        // O_NONBLOCK: opening a FIFO must not wait for a writer. The path is text that outlives the call.
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw FileProblem(SystemFiles.words(errno)) }
        defer { _ = close(descriptor) }
        var status = stat()
        // `status` is a local that outlives the call.
        guard unsafe fstat(descriptor, &status) == 0 else { throw FileProblem(SystemFiles.words(errno)) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw FileProblem("it is no regular file") }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 * 1024)
        while true {
            // The pointer covers `chunk.count` bytes and is not kept.
            let count = unsafe chunk.withUnsafeMutableBytes { unsafe Glibc.read(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw FileProblem(SystemFiles.words(errno)) }
            if count == 0 { break }
            bytes += chunk[..<count]
            guard bytes.count <= bytesMax else { throw FileProblem("it has more than \(bytesMax) bytes") }
        }
        return FileContents(bytes: bytes, mode: status.st_mode & 0o7777)
    }

    private static func words(_ code: CInt) -> String {
        switch code {
        case ENOENT: "it does not exist"
        case EACCES, EPERM: "this user may not read it"
        case ENOTDIR: "a part of its path is no folder"
        case ELOOP: "its links lead in a circle"
        default: "the system says error \(code)"
        }
    }
}
