import COpenSSL
import GatewayConfig
import ProxyCore

/// The keys of session tickets over time: made here, and replaced at intervals, or from a file that nodes share.
/// Belongs to the control thread, and outlives reloads.
struct TicketKeyRing {
    /// Those in use: the first encrypts, all decrypt.
    private(set) var keys: TicketKeys
    private var current: [TicketKey]
    private var isFromFile: Bool
    private var rotatedAt: Duration

    /// - Parameters:
    ///   - file: the keys of a file; `nil`: keys of this process's own.
    ///   - now: a steady clock.
    init(file: [TicketKey]?, now: Duration) {
        current = file ?? [.random()]
        isFromFile = file != nil
        rotatedAt = now
        keys = TicketKeys(current)
    }

    /// Puts a new key before the last two where it is time; whether it was. Keys of a file stay.
    mutating func rotate(at now: Duration, every interval: Duration) -> Bool {
        guard !isFromFile, now - rotatedAt >= interval else { return false }
        rotatedAt = now
        replace(with: [.random()] + current.prefix(2))
        return true
    }

    /// Takes over what a reload found; whether anything is new. Keys of the process's own stay where there is no file.
    mutating func take(_ file: [TicketKey]?, at now: Duration) -> Bool {
        let wasFromFile = isFromFile
        isFromFile = file != nil
        guard let file else {
            // Whoever shares the file's keys has nothing to do with what comes from now on.
            guard wasFromFile else { return false }
            rotatedAt = now
            replace(with: [.random()])
            return true
        }
        guard !wasFromFile || file != current else { return false }
        replace(with: file)
        return true
    }

    private mutating func replace(with new: [TicketKey]) {
        current = new
        keys = TicketKeys(new)
    }
}

/// Why a file of ticket keys cannot be used.
struct TicketKeysError: Error, CustomStringConvertible {
    let description: String
}

/// The file of ticket keys: on each line 80 random bytes in base64.
enum TicketKeyFile {
    static let keysMax = 16

    static func read(_ path: String) throws(TicketKeysError) -> [TicketKey] {
        let bytes: [UInt8]
        do {
            bytes = try SystemFiles().read(path, bytesMax: 65_536).bytes
        } catch {
            throw TicketKeysError(description: "\(path): \(error.reason)")
        }
        do throws(TicketKeysError) {
            return try parse(bytes)
        } catch {
            throw TicketKeysError(description: "\(path): \(error)")
        }
    }

    static func parse(_ bytes: [UInt8]) throws(TicketKeysError) -> [TicketKey] {
        var keys: [TicketKey] = []
        for (index, line) in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
            let text = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
            if text.isEmpty { continue }
            // No part of the line is shown: it may be a key with a slip in it.
            guard let key = decoded(Array(text)) else {
                throw TicketKeysError(description: "line \(index + 1) holds no 80 bytes in base64")
            }
            guard Set(key).count >= distinctBytesMin, let new = TicketKey(key) else {
                throw TicketKeysError(description: "the key in line \(index + 1) is not random")
            }
            guard !keys.contains(where: { $0.name == new.name }) else {
                throw TicketKeysError(description: "the key in line \(index + 1) has the name of an earlier one")
            }
            keys.append(new)
        }
        guard !keys.isEmpty else { throw TicketKeysError(description: "there is no key") }
        guard keys.count <= keysMax else { throw TicketKeysError(description: "there are more than \(keysMax) keys") }
        return keys
    }

    /// `nil` unless the text is the one way to write 80 bytes.
    private static func decoded(_ text: [UInt8]) -> [UInt8]? {
        guard text.count == 108 else { return nil }
        var bytes = [UInt8](repeating: 0, count: 81)
        var again = [UInt8](repeating: 0, count: 109)
        // 108 digits become 81 bytes, 80 bytes become 108 digits and a NUL.
        guard unsafe EVP_DecodeBlock(&bytes, text, 108) == 81, unsafe EVP_EncodeBlock(&again, bytes, 80) == 108,
            again.prefix(108) == text[...]
        else { return nil }
        return Array(bytes.prefix(TicketKey.byteCount))
    }

    /// Random bytes have about 70.
    private static let distinctBytesMin = 24
}
