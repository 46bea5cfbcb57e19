/// Writes the normal form of one path, segment by segment.
struct PathNormalizer {
    let policy: TargetPolicy
    private var utf8 = UTF8Checker()

    init(policy: TargetPolicy) {
        self.policy = policy
    }

    mutating func run(_ path: Span<UInt8>, into output: inout FixedBytes) -> TargetError? {
        output.truncate(to: 0)
        guard path.count > 0 else {
            output.append(Byte.slash)
            return nil
        }
        guard path[0] == Byte.slash else { return .notAbsolute }
        guard path.count == 1 || path[1] != Byte.slash else { return .leadingSlashes }
        var segments = 0
        var index = 0
        while index < path.count {
            segments += 1
            guard segments <= RequestTarget.segmentsMax else { return .tooManySegments }
            // index is at a slash; what stands before it in the output ends with no slash of its own.
            index += 1
            output.append(Byte.slash)
            let start = output.count
            var hasEncodedDot = false
            while index < path.count, path[index] != Byte.slash {
                if let error = copyByte(path, at: &index, into: &output, hasEncodedDot: &hasEncodedDot) { return error }
            }
            guard policy.allowInvalidUTF8 || utf8.isComplete else { return .invalidUTF8 }
            let isLast = index == path.count
            let dots = DotSegment(output, from: start)
            guard dots == nil || (dots != .disguised && !hasEncodedDot) else { return .disguisedDotSegment }
            if dots == .current {
                output.truncate(to: isLast ? start : start - 1)
            } else if dots == .parent {
                guard start > 1 else { return .climbsAboveRoot }
                var parent = start - 1
                repeat { parent -= 1 } while output[parent] != Byte.slash
                output.truncate(to: isLast ? parent + 1 : parent)
            }
        }
        return nil
    }

    /// Copies the byte or escape at `index`, decoded if it is unreserved.
    private mutating func copyByte(
        _ path: Span<UInt8>, at index: inout Int, into output: inout FixedBytes, hasEncodedDot: inout Bool
    ) -> TargetError? {
        let byte = path[index]
        guard byte == Byte.percent else {
            guard ByteTable.has(byte, ByteTable.plainPath) else { return .invalidByte }
            guard policy.allowInvalidUTF8 || utf8.accept(byte) else { return .invalidUTF8 }
            output.append(byte)
            index += 1
            return nil
        }
        guard path.count - index > 2, let high = Byte.hexValue(path[index + 1]),
            let low = Byte.hexValue(path[index + 2])
        else { return .badEscape }
        let decoded = high << 4 | low
        guard policy.allowInvalidUTF8 || utf8.accept(decoded) else { return .invalidUTF8 }
        if ByteTable.has(decoded, ByteTable.unreserved) {
            hasEncodedDot = hasEncodedDot || decoded == Byte.dot
            output.append(decoded)
        } else {
            output.append(Byte.percent)
            output.append(Byte.hexDigit(high))
            output.append(Byte.hexDigit(low))
        }
        index += 3
        return nil
    }
}
