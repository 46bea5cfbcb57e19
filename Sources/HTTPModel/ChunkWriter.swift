/// Writes the framing of a chunked body.
public enum ChunkWriter {
    /// The most bytes of a size line: 16 digits, CR and LF.
    public static let sizeLineBytesMax = 18
    /// What ends a body without trailers: the last chunk and the empty line.
    public static let end: StaticString = "0\r\n\r\n"
    /// What follows the data of a chunk.
    public static let lineEnd: StaticString = "\r\n"

    /// Writes the size line of a chunk of `size` bytes to the beginning of `buffer` and returns its length.
    /// `buffer` has room for `sizeLineBytesMax` bytes; `size` is above 0, since 0 would end the body.
    public static func writeSizeLine(_ size: Int, into buffer: inout MutableSpan<UInt8>) -> Int {
        precondition(size > 0)
        let digits = (Int.bitWidth - size.leadingZeroBitCount + 3) / 4
        var rest = size
        var index = digits
        while index > 0 {
            index -= 1
            buffer[index] = Byte.hexDigit(UInt8(truncatingIfNeeded: rest & 15))
            rest >>= 4
        }
        buffer[digits] = Byte.carriageReturn
        buffer[digits + 1] = Byte.lineFeed
        return digits + 2
    }
}
