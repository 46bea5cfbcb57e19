import CLinux
import Glibc
import HTTPModel

/// How much memory may be held for peers where the configuration does not say: half of what the process may have at all.
/// The other half is for what is not counted, and for what the allocator loses between its blocks.
struct MemoryBound: Sendable {
    /// By the machine and the control group, in bytes.
    private let surroundings: Int

    init() {
        let pages = sysconf(CInt(_SC_PHYS_PAGES))
        let machine = pages > 0 ? pages * sysconf(CInt(_SC_PAGESIZE)) : Int.max
        surroundings = min(machine, MemoryBound.controlGroupBytes() ?? .max)
    }

    /// As of now: what is left of the address space changes.
    var bytesMax: Int {
        max(MemoryBound.leastBytes, min(surroundings, MemoryBound.addressSpaceBytes() ?? .max) / 2)
    }

    /// What may be held within RLIMIT_AS, which is a limit on the address space; `nil` where there is none.
    ///
    /// The allocator gives little of it back when memory is freed, but uses it again.
    private static func addressSpaceBytes() -> Int? {
        var limit = rlimit()
        // RLIMIT_AS, by its number on Linux.
        guard unsafe getrlimit(__rlimit_resource_t(9), &limit) == 0,
            limit.rlim_cur < UInt64(Int.max), let pages = statistics(ofMemory: 0)
        else { return nil }
        let used = pages * sysconf(CInt(_SC_PAGESIZE)) - Int(clamping: clinux_malloc_free_bytes())
        return max(0, Int(limit.rlim_cur) - used + MemoryAccount.bytesHeld)
    }

    /// The lowest of the limits that the process's control group and those above it set; `nil` without any.
    private static func controlGroupBytes() -> Int? {
        var lowest: Int?
        func take(_ path: String) {
            guard let text = firstLine(of: path), let bytes = Int(text), bytes > 0 else { return }
            lowest = min(lowest ?? .max, bytes)
        }
        // Version 1, as it is within a container.
        take("/sys/fs/cgroup/memory/memory.limit_in_bytes")
        guard let line = firstLine(of: "/proc/self/cgroup"), line.hasPrefix("0::/") else { return lowest }
        var folder = line.dropFirst("0::".count).split(separator: "/").filter { $0 != ".." }
        while true {
            take((["/sys/fs/cgroup"] + folder.map(String.init) + ["memory.max"]).joined(separator: "/"))
            guard folder.popLast() != nil else { return lowest }
        }
    }

    /// A number of /proc/self/statm, in pages: 0 is the address space, 1 what is resident.
    static func statistics(ofMemory index: Int) -> Int? {
        let fields = firstLine(of: "/proc/self/statm")?.split(separator: " ") ?? []
        return fields.indices.contains(index) ? Int(fields[index]) : nil
    }

    private static func firstLine(of path: String) -> String? {
        guard let file = unsafe fopen(path, "re") else { return nil }
        defer { unsafe fclose(file) }
        var text = [CChar](repeating: 0, count: 4096)
        // Room for as many bytes as it says.
        guard unsafe fgets(&text, 4096, file) != nil else { return nil }
        let bytes = text.prefix { $0 != 0 && $0 != 10 }.map { UInt8(bitPattern: $0) }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Less serves nobody.
    private static let leastBytes = 16 << 20
}
