internal import Glibc
internal import IdentityModel

/// The database's files on disk: ours alone, mode 0600.
enum DatabaseFile {
    /// Creates the file when there is none; refuses one that others may read or write. The same holds for the
    /// write-ahead log and its index beside it, which SQLite creates with the permissions of the file itself.
    static func prepare(_ path: String) throws(StoreError) {
        // The path is copied for the call.
        let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        if descriptor >= 0 {
            close(descriptor)
        } else if errno != EEXIST {
            throw StoreError("database: cannot create \(path): \(reason(errno)); \(cure(errno))", reason: kind(errno))
        }
        for file in [path, path + "-wal", path + "-shm"] { try check(file) }
    }

    private static func check(_ path: String) throws(StoreError) {
        var status = stat()
        // The pointers are to a local variable and to the string's own copy for the call.
        guard unsafe stat(path, &status) == 0 else {
            if errno == ENOENT { return }
            throw StoreError("database: cannot look at \(path): \(reason(errno))", reason: kind(errno))
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw StoreError("database: \(path) is not a regular file", reason: .unavailable)
        }
        guard status.st_mode & 0o077 == 0 else {
            let mode = String(status.st_mode & 0o777, radix: 8)
            throw StoreError(
                "database: others may read or write \(path) (mode 0\(mode)); run: chmod 600 \(path)",
                reason: .permissions)
        }
    }

    private static func reason(_ code: CInt) -> String { unsafe String(cString: strerror(code)) }

    private static func kind(_ code: CInt) -> StoreError.Reason {
        switch code {
        case ENOSPC, EDQUOT: .full
        case EROFS: .readOnly
        default: .unavailable
        }
    }

    private static func cure(_ code: CInt) -> String {
        switch code {
        case ENOENT: "create its folder first, with mode 0700 and owned by the user that the gateway runs as"
        case EACCES, EPERM: "its folder must belong to the user that the gateway runs as"
        case EROFS: "the file system is mounted read-only"
        case ENOSPC, EDQUOT: "make room on its disk"
        default: "see that its folder is writable"
        }
    }
}
