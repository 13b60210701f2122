/* The functions of Microsoft's C run-time library that take a variable number of arguments, which Rust cannot define, and the text
 * functions around them. src/text.rs gives them to the linker as `ovl_…`.
 *
 * Narrow text is UTF-8; wide text is the C library's, 32 bits a character. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#define LOCAL __attribute__((visibility("hidden")))
#define TRUNCATE ((size_t)-1)
#define STRUNCATE 80
#define INSUFFICIENT_BUFFER ((int)0x8007007A)
#define INVALID_PARAMETER ((int)0x80070057)

/* Text is UTF-8, unless the program or its user has said something else. */
__attribute__((constructor)) static void speak_utf8(void)
{
    const char *now = setlocale(LC_CTYPE, NULL);
    if (now && strcmp(now, "C") == 0)
        setlocale(LC_CTYPE, "C.UTF-8");
}

/* --- Formats ------------------------------------------------------------------------------------------------------------------- */

/* What stands between `%` and the letter of the conversion, and that letter. */
struct piece {
    const char *flags, *length, *letter; /* each begins where the one before ends */
    char conversion;
};

static struct piece take_apart(const char *at)
{
    struct piece piece = {at, NULL, NULL, 0};
    at += strspn(at, "-+ #0'*123456789.$");
    piece.length = at;
    for (;;) {
        if (at[0] == 'I' && at[1] == '6' && at[2] == '4')
            at += 3;
        else if (at[0] == 'I' && at[1] == '3' && at[2] == '2')
            at += 3;
        else if (*at && strchr("hlLqjztIw", *at))
            at++;
        else
            break;
    }
    piece.letter = at;
    piece.conversion = *at;
    return piece;
}

static int has(const struct piece *piece, const char *word)
{
    size_t length = (size_t)(piece->letter - piece->length);
    return length >= strlen(word) && memcmp(piece->length, word, strlen(word)) == 0;
}

/* The length that the C library has for Microsoft's. */
static const char *length_of(const struct piece *piece, int wide, char *letter)
{
    switch (piece->conversion) {
    case 's':
    case 'S':
    case 'c':
    case 'C': {
        int upper = isupper((unsigned char)piece->conversion) != 0, is_wide = upper ? !wide : wide;
        if (has(piece, "h"))
            is_wide = 0;
        else if (has(piece, "l") || has(piece, "w"))
            is_wide = 1;
        *letter = (char)tolower((unsigned char)piece->conversion);
        return is_wide ? "l" : "";
    }
    case 'd':
    case 'i':
    case 'u':
    case 'o':
    case 'x':
    case 'X':
    case 'n':
        if (has(piece, "I64") || has(piece, "ll") || has(piece, "q") || has(piece, "L"))
            return "ll";
        if (has(piece, "I32"))
            return "";
        if (has(piece, "I"))
            return "z";
        if (has(piece, "l")) /* 32 bits there; what a `long` of the program holds fits, if it did there */
            return "";
        if (has(piece, "hh"))
            return "hh";
        if (has(piece, "h"))
            return "h";
        if (has(piece, "j"))
            return "j";
        if (has(piece, "z"))
            return "z";
        if (has(piece, "t"))
            return "t";
        return "";
    case 'a':
    case 'A':
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
        return has(piece, "L") ? "L" : "";
    default:
        return "";
    }
}

/* A format as the C library wants it: either `format` itself or something to be freed. */
static char *translate(const char *format, int wide, int *allocated)
{
    *allocated = 0;
    if (!format || (!wide && !strpbrk(format, "lIwSC")))
        return (char *)format;
    char *result = malloc(2 * strlen(format) + 1), *to = result; /* no piece more than doubles: `%s` to `%ls` */
    if (!result)
        return NULL;
    for (const char *from = format; *from;) {
        if (*from != '%') {
            *to++ = *from++;
            continue;
        }
        *to++ = *from++;
        if (*from == '%') {
            *to++ = *from++;
            continue;
        }
        struct piece piece = take_apart(from);
        char letter = piece.conversion;
        const char *length = length_of(&piece, wide, &letter);
        to = mempcpy(to, piece.flags, (size_t)(piece.length - piece.flags));
        to = stpcpy(to, length);
        if (!letter)
            break;
        *to++ = letter;
        from = piece.letter + 1;
    }
    *to = 0;
    *allocated = 1;
    return result;
}

#define TRANSLATED(result, wide, call) \
    int allocated, result; \
    char *translated = translate(format, (wide), &allocated); \
    if (!translated) { \
        errno = EINVAL; \
        return -1; \
    } \
    result = (call); \
    if (allocated) \
    free(translated)

#define VARIADIC(type, last, call) \
    va_list arguments; \
    va_start(arguments, last); \
    type made = (call); \
    va_end(arguments); \
    return made

LOCAL int crt_vfprintf(FILE *stream, const char *format, va_list arguments)
{
    TRANSLATED(result, 0, vfprintf(stream, translated, arguments));
    return result;
}
LOCAL int crt_vprintf(const char *format, va_list arguments) { return crt_vfprintf(stdout, format, arguments); }
LOCAL int crt_printf(const char *format, ...) { VARIADIC(int, format, crt_vfprintf(stdout, format, arguments)); }
LOCAL int crt_fprintf(FILE *stream, const char *format, ...) { VARIADIC(int, format, crt_vfprintf(stream, format, arguments)); }
LOCAL int crt_vsnprintf(char *buffer, size_t size, const char *format, va_list arguments)
{
    TRANSLATED(result, 0, vsnprintf(buffer, size, translated, arguments));
    return result;
}
LOCAL int crt_snprintf(char *buffer, size_t size, const char *format, ...)
{
    VARIADIC(int, format, crt_vsnprintf(buffer, size, format, arguments));
}
LOCAL int crt_vsprintf(char *buffer, const char *format, va_list arguments)
{
    TRANSLATED(result, 0, vsprintf(buffer, translated, arguments));
    return result;
}
LOCAL int crt_sprintf(char *buffer, const char *format, ...) { VARIADIC(int, format, crt_vsprintf(buffer, format, arguments)); }
LOCAL int crt_printf_s(const char *format, ...) { VARIADIC(int, format, crt_vfprintf(stdout, format, arguments)); }
LOCAL int crt_fprintf_s(FILE *stream, const char *format, ...) { VARIADIC(int, format, crt_vfprintf(stream, format, arguments)); }
LOCAL int crt__scprintf(const char *format, ...) { VARIADIC(int, format, crt_vsnprintf(NULL, 0, format, arguments)); }

/* Too long a result is an error, and leaves nothing. */
LOCAL int crt_vsprintf_s(char *buffer, size_t size, const char *format, va_list arguments)
{
    if (!buffer || !size)
        return -1;
    int length = crt_vsnprintf(buffer, size, format, arguments);
    if (length < 0 || (size_t)length >= size) {
        buffer[0] = 0;
        errno = ERANGE;
        return -1;
    }
    return length;
}
LOCAL int crt_sprintf_s(char *buffer, size_t size, const char *format, ...)
{
    VARIADIC(int, format, crt_vsprintf_s(buffer, size, format, arguments));
}

/* Too long a result is cut, without a null, and gives -1. */
LOCAL int crt__vsnprintf(char *buffer, size_t count, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int length = crt_vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0)
        return -1;
    if ((size_t)length < count)
        return crt_vsnprintf(buffer, count, format, arguments);
    char *whole = malloc((size_t)length + 1);
    if (!whole)
        return -1;
    crt_vsnprintf(whole, (size_t)length + 1, format, arguments);
    memcpy(buffer, whole, count);
    free(whole);
    return (size_t)length == count ? length : -1;
}
LOCAL int crt__snprintf(char *buffer, size_t count, const char *format, ...)
{
    VARIADIC(int, format, crt__vsnprintf(buffer, count, format, arguments));
}

/* Cut at `count`, or anywhere if that is _TRUNCATE. */
LOCAL int crt__vsnprintf_s(char *buffer, size_t size, size_t count, const char *format, va_list arguments)
{
    if (!buffer || !size)
        return -1;
    size_t room = count != TRUNCATE && count + 1 < size ? count + 1 : size;
    int length = crt_vsnprintf(buffer, room, format, arguments);
    if (length >= 0 && (size_t)length < room)
        return length;
    if (count == TRUNCATE || count < size)
        return -1;
    buffer[0] = 0;
    errno = ERANGE;
    return -1;
}
LOCAL int crt__snprintf_s(char *buffer, size_t size, size_t count, const char *format, ...)
{
    VARIADIC(int, format, crt__vsnprintf_s(buffer, size, count, format, arguments));
}
LOCAL int crt_wsprintfA(char *buffer, const char *format, ...)
{
    VARIADIC(int, format, crt_vsnprintf(buffer, 1025, format, arguments));
}

/* --- Wide formats -------------------------------------------------------------------------------------------------------------- */

static size_t put_utf8(char *to, uint32_t c)
{
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        c = 0xfffd;
    if (c < 0x80)
        return to[0] = (char)c, 1;
    if (c < 0x800)
        return to[0] = (char)(0xc0 | c >> 6), to[1] = (char)(0x80 | (c & 0x3f)), 2;
    if (c < 0x10000)
        return to[0] = (char)(0xe0 | c >> 12), to[1] = (char)(0x80 | (c >> 6 & 0x3f)), to[2] = (char)(0x80 | (c & 0x3f)), 3;
    to[0] = (char)(0xf0 | c >> 18), to[1] = (char)(0x80 | (c >> 12 & 0x3f));
    to[2] = (char)(0x80 | (c >> 6 & 0x3f)), to[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

static char *narrow(const wchar_t *text)
{
    char *result = malloc(4 * wcslen(text) + 1), *to = result;
    if (!result)
        return NULL;
    while (*text)
        to += put_utf8(to, (uint32_t)*text++);
    *to = 0;
    return result;
}

static wchar_t *widen(const char *text)
{
    const unsigned char *from = (const unsigned char *)text;
    wchar_t *result = malloc((strlen(text) + 1) * sizeof *result), *to = result;
    if (!result)
        return NULL;
    while (*from) {
        uint32_t c = *from++;
        int more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc0 ? 1 : 0;
        if (more)
            for (c &= 0x3fu >> more; more && (*from & 0xc0) == 0x80; more--)
                c = c << 6 | (*from++ & 0x3f);
        *to++ = (wchar_t)c;
    }
    *to = 0;
    return result;
}

/* The whole result, to be freed. */
static wchar_t *format_wide(const wchar_t *format, va_list arguments)
{
    int allocated = 0;
    char *plain = format ? narrow(format) : NULL, *translated = plain ? translate(plain, 1, &allocated) : NULL;
    wchar_t *wide = translated ? widen(translated) : NULL, *result = NULL;
    for (size_t size = 256; wide && size <= (size_t)1 << 24; size *= 4) {
        va_list again;
        va_copy(again, arguments);
        wchar_t *larger = realloc(result, size * sizeof *result);
        int length = larger ? vswprintf(larger, size, wide, again) : -1;
        va_end(again);
        if (!larger)
            break;
        result = larger;
        if (length >= 0)
            goto done;
    }
    free(result);
    result = NULL;
done:
    free(wide);
    if (allocated)
        free(translated);
    free(plain);
    return result;
}

/* As narrow text, so that the stream takes both kinds. */
LOCAL int crt_vfwprintf(FILE *stream, const wchar_t *format, va_list arguments)
{
    wchar_t *whole = format_wide(format, arguments);
    char *text = whole ? narrow(whole) : NULL;
    int length = text && fputs(text, stream) >= 0 ? (int)wcslen(whole) : -1;
    free(text);
    free(whole);
    return length;
}
LOCAL int crt_vwprintf(const wchar_t *format, va_list arguments) { return crt_vfwprintf(stdout, format, arguments); }
LOCAL int crt_wprintf(const wchar_t *format, ...) { VARIADIC(int, format, crt_vfwprintf(stdout, format, arguments)); }
LOCAL int crt_wprintf_s(const wchar_t *format, ...) { VARIADIC(int, format, crt_vfwprintf(stdout, format, arguments)); }
LOCAL int crt_fwprintf(FILE *stream, const wchar_t *format, ...) { VARIADIC(int, format, crt_vfwprintf(stream, format, arguments)); }
LOCAL int crt_vswprintf(wchar_t *buffer, size_t size, const wchar_t *format, va_list arguments)
{
    wchar_t *whole = format_wide(format, arguments);
    int length = whole ? (int)wcslen(whole) : -1;
    if (length >= 0 && (size_t)length < size)
        wmemcpy(buffer, whole, (size_t)length + 1);
    else {
        if (whole && size) {
            wmemcpy(buffer, whole, size - 1);
            buffer[size - 1] = 0;
        }
        length = -1;
    }
    free(whole);
    return length;
}
LOCAL int crt_swprintf(wchar_t *buffer, size_t size, const wchar_t *format, ...)
{
    VARIADIC(int, format, crt_vswprintf(buffer, size, format, arguments));
}
LOCAL int crt_swprintf_s(wchar_t *buffer, size_t size, const wchar_t *format, ...)
{
    VARIADIC(int, format, crt_vswprintf(buffer, size, format, arguments));
}
LOCAL int crt__snwprintf(wchar_t *buffer, size_t size, const wchar_t *format, ...)
{
    VARIADIC(int, format, crt_vswprintf(buffer, size, format, arguments));
}
LOCAL int crt_wsprintfW(wchar_t *buffer, const wchar_t *format, ...)
{
    VARIADIC(int, format, crt_vswprintf(buffer, 1025, format, arguments));
}

/* --- Input --------------------------------------------------------------------------------------------------------------------- */

enum { MOST_FIELDS = 16 };

/* One conversion after the other; the functions with `_s` have the size of the buffer behind each text. */
static int scan(FILE *stream, const char *format, va_list arguments, int with_sizes)
{
    int allocated;
    char *translated = translate(format, 0, &allocated);
    size_t length = translated ? strlen(translated) : 0;
    char *made = translated ? malloc(length + 24 * MOST_FIELDS + 1) : NULL, *to = made;
    void *fields[MOST_FIELDS] = {0};
    struct {
        char *buffer, *temporary;
        size_t size;
        int is_char;
    } texts[MOST_FIELDS];
    int count = 0, text_count = 0, result = -1;
    if (!made)
        goto done;
    for (const char *from = translated; *from;) {
        if (*from != '%' || from[1] == '%') {
            if (*from == '%')
                *to++ = *from++;
            *to++ = *from++;
            continue;
        }
        *to++ = *from++;
        int skipped = *from == '*';
        const char *digits = from;
        while (*from == '*' || isdigit((unsigned char)*from))
            from++;
        size_t width = skipped ? 0 : strtoul(digits, NULL, 10);
        const char *length_at = from;
        while (*from && strchr("hlLqjzt", *from))
            from++;
        char letter = *from;
        int is_text = letter == 's' || letter == 'c' || letter == '[';
        if (count == MOST_FIELDS)
            goto done;
        if (is_text && with_sizes && !skipped) {
            char *buffer = va_arg(arguments, char *);
            size_t size = va_arg(arguments, unsigned int), limit = letter == 'c' ? (width ? width : 1) : width && width <= size ? width : size;
            char *temporary = malloc(limit + 2);
            if (!temporary)
                goto done;
            texts[text_count].buffer = buffer;
            texts[text_count].temporary = temporary;
            texts[text_count].size = size;
            texts[text_count++].is_char = letter == 'c' ? (int)limit : 0;
            memset(temporary, 0, limit + 2);
            to += sprintf(to, "%zu", limit ? limit : 1);
            fields[count++] = temporary;
        } else {
            to = mempcpy(to, digits, (size_t)(length_at - digits));
            if (!skipped)
                fields[count++] = va_arg(arguments, void *);
        }
        to = mempcpy(to, length_at, (size_t)(from - length_at));
        *to++ = letter;
        if (letter)
            from++;
        if (letter == '[') { /* up to the bracket that ends it; one at the beginning is a character */
            if (*from == '^')
                *to++ = *from++;
            if (*from == ']')
                *to++ = *from++;
            while (*from && *from != ']')
                *to++ = *from++;
        }
    }
    *to = 0;
    result = fscanf(stream, made, fields[0], fields[1], fields[2], fields[3], fields[4], fields[5], fields[6], fields[7], fields[8], fields[9],
                    fields[10], fields[11], fields[12], fields[13], fields[14], fields[15]);
    int fitting = 0;
    for (int field = 0, text = 0; field < count && field < result; field++, fitting++) {
        if (text >= text_count || fields[field] != texts[text].temporary)
            continue;
        size_t got = texts[text].is_char ? (size_t)texts[text].is_char : strlen(texts[text].temporary) + 1;
        if (got > texts[text].size) {
            if (texts[text].size)
                texts[text].buffer[0] = 0;
            break;
        }
        memcpy(texts[text].buffer, texts[text].temporary, got);
        text++;
    }
    if (result > fitting)
        result = fitting;
done:
    while (text_count > 0)
        free(texts[--text_count].temporary);
    free(made);
    if (allocated)
        free(translated);
    return result;
}

static int scan_text(const char *buffer, const char *format, va_list arguments, int with_sizes)
{
    if (!*buffer)
        return EOF;
    FILE *stream = fmemopen((void *)buffer, strlen(buffer), "r");
    if (!stream)
        return EOF;
    int result = scan(stream, format, arguments, with_sizes);
    fclose(stream);
    return result;
}

LOCAL int crt_scanf(const char *format, ...) { VARIADIC(int, format, scan(stdin, format, arguments, 0)); }
LOCAL int crt_fscanf(FILE *stream, const char *format, ...) { VARIADIC(int, format, scan(stream, format, arguments, 0)); }
LOCAL int crt_sscanf(const char *buffer, const char *format, ...) { VARIADIC(int, format, scan_text(buffer, format, arguments, 0)); }
LOCAL int crt_scanf_s(const char *format, ...) { VARIADIC(int, format, scan(stdin, format, arguments, 1)); }
LOCAL int crt_fscanf_s(FILE *stream, const char *format, ...) { VARIADIC(int, format, scan(stream, format, arguments, 1)); }
LOCAL int crt_sscanf_s(const char *buffer, const char *format, ...) { VARIADIC(int, format, scan_text(buffer, format, arguments, 1)); }

LOCAL char *crt_gets_s(char *buffer, size_t size)
{
    size_t length = 0;
    int c = EOF, too_long = 0, any = 0;
    if (!buffer || !size)
        return NULL;
    fflush(stdout); /* what asks for the line */
    while ((c = getchar()) != EOF && c != '\n') {
        any = 1;
        if (length + 1 < size)
            buffer[length++] = (char)c;
        else
            too_long = 1;
    }
    buffer[too_long ? 0 : length] = 0;
    return too_long || (c == EOF && !any) ? NULL : buffer;
}

/* A key, without waiting for the line; the end of the input is -1, and from a pipe comes what comes. */
static int one_key(int echo)
{
    struct termios before, raw;
    unsigned char c;
    fflush(stdout);
    int terminal = tcgetattr(STDIN_FILENO, &before) == 0;
    if (terminal) {
        raw = before;
        raw.c_lflag &= ~(tcflag_t)(ICANON | (echo ? 0 : ECHO));
        raw.c_cc[VMIN] = 1, raw.c_cc[VTIME] = 0;
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    ssize_t got;
    do
        got = read(STDIN_FILENO, &c, 1);
    while (got < 0 && errno == EINTR);
    if (terminal)
        tcsetattr(STDIN_FILENO, TCSANOW, &before);
    return got == 1 ? (c == '\n' ? '\r' : c) : EOF;
}
LOCAL int crt__getch(void) { return one_key(0); }
LOCAL int crt__getche(void) { return one_key(1); }
LOCAL int crt__kbhit(void)
{
    struct termios before, raw;
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    int terminal = tcgetattr(STDIN_FILENO, &before) == 0, hit;
    if (terminal) {
        raw = before;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    hit = poll(&input, 1, 0) == 1 && (input.revents & POLLIN);
    if (terminal)
        tcsetattr(STDIN_FILENO, TCSANOW, &before);
    return hit;
}
LOCAL int crt__putch(int character)
{
    putchar(character);
    fflush(stdout);
    return character;
}
LOCAL int crt__cputs(const char *text)
{
    int result = fputs(text, stdout);
    fflush(stdout);
    return result < 0;
}
LOCAL int crt__cprintf(const char *format, ...) { VARIADIC(int, format, crt_vfprintf(stdout, format, arguments)); }

/* The two commands that programs have in them. */
LOCAL int crt_system(const char *command)
{
    while (command && isspace((unsigned char)*command))
        command++;
    if (command && strncasecmp(command, "pause", 5) == 0 && !isalnum((unsigned char)command[5])) {
        if (!strchr(command, '>')) {
            fputs("Press any key to continue . . . ", stdout);
            fflush(stdout);
        }
        one_key(0);
        putchar('\n');
        return 0;
    }
    if (command && strcasecmp(command, "cls") == 0) {
        if (isatty(STDOUT_FILENO))
            fputs("\033[2J\033[H", stdout);
        fflush(stdout);
        return 0;
    }
    fflush(stdout);
    return system(command);
}

/* --- Text ---------------------------------------------------------------------------------------------------------------------- */

LOCAL int crt_strcpy_s(char *to, size_t size, const char *from)
{
    if (!to || !size)
        return EINVAL;
    if (!from)
        return to[0] = 0, EINVAL;
    size_t length = strnlen(from, size);
    if (length == size)
        return to[0] = 0, ERANGE;
    memmove(to, from, length + 1);
    return 0;
}
LOCAL int crt_strncpy_s(char *to, size_t size, const char *from, size_t count)
{
    if (!to || !size)
        return EINVAL;
    if (!from)
        return to[0] = 0, count ? EINVAL : 0;
    size_t length = strnlen(from, count == TRUNCATE ? size : count < size ? count : size);
    if (length < size) {
        memmove(to, from, length);
        to[length] = 0;
        return 0;
    }
    if (count != TRUNCATE)
        return to[0] = 0, ERANGE;
    memmove(to, from, size - 1);
    to[size - 1] = 0;
    return STRUNCATE;
}
LOCAL int crt_strncat_s(char *to, size_t size, const char *from, size_t count)
{
    size_t begin = to && size ? strnlen(to, size) : 0;
    if (!to || !size || begin == size) {
        if (to && size)
            to[0] = 0;
        return EINVAL;
    }
    int result = crt_strncpy_s(to + begin, size - begin, from, count);
    if (result && result != STRUNCATE)
        to[0] = 0;
    return result;
}
LOCAL int crt_strcat_s(char *to, size_t size, const char *from)
{
    size_t begin = to && size ? strnlen(to, size) : 0;
    if (!to || !size || begin == size) {
        if (to && size)
            to[0] = 0;
        return EINVAL;
    }
    int result = crt_strcpy_s(to + begin, size - begin, from);
    if (result)
        to[0] = 0;
    return result;
}
LOCAL int crt_wcscpy_s(wchar_t *to, size_t size, const wchar_t *from)
{
    if (!to || !size)
        return EINVAL;
    if (!from)
        return to[0] = 0, EINVAL;
    size_t length = wcsnlen(from, size);
    if (length == size)
        return to[0] = 0, ERANGE;
    wmemmove(to, from, length + 1);
    return 0;
}
LOCAL int crt_wcscat_s(wchar_t *to, size_t size, const wchar_t *from)
{
    size_t begin = to && size ? wcsnlen(to, size) : 0;
    if (!to || !size || begin == size)
        return EINVAL;
    int result = crt_wcscpy_s(to + begin, size - begin, from);
    if (result)
        to[0] = 0;
    return result;
}
LOCAL int crt_wcsncpy_s(wchar_t *to, size_t size, const wchar_t *from, size_t count)
{
    if (!to || !size)
        return EINVAL;
    if (!from)
        return to[0] = 0, EINVAL;
    size_t length = wcsnlen(from, count < size ? count : size);
    if (length == size && count != TRUNCATE)
        return to[0] = 0, ERANGE;
    int cut = length == size;
    length -= (size_t)cut;
    wmemmove(to, from, length);
    to[length] = 0;
    return cut ? STRUNCATE : 0;
}
LOCAL int crt_memmove_s(void *to, size_t size, const void *from, size_t count)
{
    if (!count)
        return 0;
    if (!to)
        return EINVAL;
    if (!from || count > size) {
        memset(to, 0, size);
        return from ? ERANGE : EINVAL;
    }
    memmove(to, from, count);
    return 0;
}
LOCAL int crt_memcpy_s(void *to, size_t size, const void *from, size_t count) { return crt_memmove_s(to, size, from, count); }
LOCAL int crt_strerror_s(char *buffer, size_t size, int number) { return crt_strncpy_s(buffer, size, strerror(number), TRUNCATE) == EINVAL ? EINVAL : 0; }
LOCAL size_t crt_strnlen_s(const char *text, size_t size) { return text ? strnlen(text, size) : 0; }
LOCAL char *crt_strtok_s(char *text, const char *delimiters, char **context) { return strtok_r(text, delimiters, context); }
LOCAL char *crt__strlwr(char *text)
{
    for (char *at = text; *at; at++)
        *at = (char)tolower((unsigned char)*at);
    return text;
}
LOCAL char *crt__strupr(char *text)
{
    for (char *at = text; *at; at++)
        *at = (char)toupper((unsigned char)*at);
    return text;
}
LOCAL char *crt__strrev(char *text)
{
    for (char *left = text, *right = text + strlen(text); left < right; left++) {
        char swapped = *left;
        *left = *--right;
        *right = swapped;
    }
    return text;
}
LOCAL int crt__wcsicmp(const wchar_t *a, const wchar_t *b) { return wcscasecmp(a, b); }
LOCAL int crt__wcsnicmp(const wchar_t *a, const wchar_t *b, size_t n) { return wcsncasecmp(a, b, n); }
LOCAL int crt__wtoi(const wchar_t *text) { return (int)wcstol(text, NULL, 10); }

static char *digits(uint64_t value, int negative, char *buffer, int radix)
{
    char *to = buffer;
    if (radix < 2 || radix > 36)
        return *to = 0, buffer;
    do
        *to++ = "0123456789abcdefghijklmnopqrstuvwxyz"[value % (unsigned)radix];
    while (value /= (unsigned)radix);
    if (negative)
        *to++ = '-';
    *to = 0;
    return crt__strrev(buffer);
}
LOCAL char *crt__i64toa(int64_t value, char *buffer, int radix)
{
    int negative = value < 0 && radix == 10;
    return digits(negative ? 0 - (uint64_t)value : (uint64_t)value, negative, buffer, radix);
}
LOCAL char *crt__ui64toa(uint64_t value, char *buffer, int radix) { return digits(value, 0, buffer, radix); }
LOCAL char *crt__ultoa(uint32_t value, char *buffer, int radix) { return digits(value, 0, buffer, radix); }
LOCAL char *crt__itoa(int value, char *buffer, int radix)
{
    return radix == 10 ? crt__i64toa(value, buffer, radix) : digits((uint32_t)value, 0, buffer, radix);
}
LOCAL char *crt__ltoa(int value, char *buffer, int radix) { return crt__itoa(value, buffer, radix); }
LOCAL int crt__itoa_s(int value, char *buffer, size_t size, int radix)
{
    char whole[72];
    return radix < 2 || radix > 36 ? EINVAL : crt_strcpy_s(buffer, size, crt__itoa(value, whole, radix));
}
LOCAL wchar_t *crt__itow(int value, wchar_t *buffer, int radix)
{
    char narrow[72];
    size_t length = strlen(crt__itoa(value, narrow, radix));
    for (size_t at = 0; at <= length; at++)
        buffer[at] = (wchar_t)narrow[at];
    return buffer;
}
LOCAL int crt__itow_s(int value, wchar_t *buffer, size_t size, int radix)
{
    wchar_t whole[72];
    return radix < 2 || radix > 36 ? EINVAL : crt_wcscpy_s(buffer, size, crt__itow(value, whole, radix));
}
LOCAL int64_t crt__atoi64(const char *text) { return strtoll(text, NULL, 10); }

LOCAL int crt_StringCchCopyNA(char *to, size_t size, const char *from, size_t count)
{
    if (!to || !size || size > INT_MAX)
        return INVALID_PARAMETER;
    size_t length = strnlen(from, count < size ? count : size);
    if (length < size) {
        memmove(to, from, length);
        to[length] = 0;
        return 0;
    }
    memmove(to, from, size - 1);
    to[size - 1] = 0;
    return INSUFFICIENT_BUFFER;
}
LOCAL int crt_StringCchCopyA(char *to, size_t size, const char *from) { return crt_StringCchCopyNA(to, size, from, (size_t)-1); }
LOCAL int crt_StringCchCatA(char *to, size_t size, const char *from)
{
    size_t begin = to && size <= INT_MAX ? strnlen(to, size) : size;
    return begin == size ? INVALID_PARAMETER : crt_StringCchCopyA(to + begin, size - begin, from);
}
LOCAL int crt_StringCchCatNA(char *to, size_t size, const char *from, size_t count)
{
    size_t begin = to && size <= INT_MAX ? strnlen(to, size) : size;
    return begin == size ? INVALID_PARAMETER : crt_StringCchCopyNA(to + begin, size - begin, from, count);
}
LOCAL int crt_StringCchVPrintfA(char *to, size_t size, const char *format, va_list arguments)
{
    if (!to || !size || size > INT_MAX)
        return INVALID_PARAMETER;
    int length = crt_vsnprintf(to, size, format, arguments);
    return length >= 0 && (size_t)length < size ? 0 : INSUFFICIENT_BUFFER;
}
LOCAL int crt_StringCchPrintfA(char *to, size_t size, const char *format, ...)
{
    VARIADIC(int, format, crt_StringCchVPrintfA(to, size, format, arguments));
}
LOCAL int crt_StringCchLengthA(const char *text, size_t size, size_t *length)
{
    size_t found = text && size <= INT_MAX ? strnlen(text, size) : size;
    if (length)
        *length = found < size ? found : 0;
    return found < size ? 0 : INVALID_PARAMETER;
}
LOCAL int crt_StringCchCopyNW(wchar_t *to, size_t size, const wchar_t *from, size_t count)
{
    if (!to || !size || size > INT_MAX)
        return INVALID_PARAMETER;
    size_t length = wcsnlen(from, count < size ? count : size), kept = length < size ? length : size - 1;
    wmemmove(to, from, kept);
    to[kept] = 0;
    return length < size ? 0 : INSUFFICIENT_BUFFER;
}
LOCAL int crt_StringCchCopyW(wchar_t *to, size_t size, const wchar_t *from) { return crt_StringCchCopyNW(to, size, from, (size_t)-1); }
LOCAL int crt_StringCchCatW(wchar_t *to, size_t size, const wchar_t *from)
{
    size_t begin = to && size <= INT_MAX ? wcsnlen(to, size) : size;
    return begin == size ? INVALID_PARAMETER : crt_StringCchCopyW(to + begin, size - begin, from);
}
LOCAL int crt_StringCchCatNW(wchar_t *to, size_t size, const wchar_t *from, size_t count)
{
    size_t begin = to && size <= INT_MAX ? wcsnlen(to, size) : size;
    return begin == size ? INVALID_PARAMETER : crt_StringCchCopyNW(to + begin, size - begin, from, count);
}
LOCAL int crt_StringCchVPrintfW(wchar_t *to, size_t size, const wchar_t *format, va_list arguments)
{
    if (!to || !size || size > INT_MAX)
        return INVALID_PARAMETER;
    return crt_vswprintf(to, size, format, arguments) >= 0 ? 0 : INSUFFICIENT_BUFFER;
}
LOCAL int crt_StringCchPrintfW(wchar_t *to, size_t size, const wchar_t *format, ...)
{
    VARIADIC(int, format, crt_StringCchVPrintfW(to, size, format, arguments));
}
LOCAL int crt_StringCchLengthW(const wchar_t *text, size_t size, size_t *length)
{
    size_t found = text && size <= INT_MAX ? wcsnlen(text, size) : size;
    if (length)
        *length = found < size ? found : 0;
    return found < size ? 0 : INVALID_PARAMETER;
}

LOCAL int crt_lstrlenA(const char *text) { return text ? (int)strlen(text) : 0; }
LOCAL int crt_lstrlenW(const wchar_t *text) { return text ? (int)wcslen(text) : 0; }
LOCAL char *crt_lstrcpyA(char *to, const char *from) { return to && from ? strcpy(to, from) : NULL; }
LOCAL char *crt_lstrcpynA(char *to, const char *from, int size)
{
    if (!to || !from || size <= 0)
        return NULL;
    crt_StringCchCopyA(to, (size_t)size, from);
    return to;
}
LOCAL char *crt_lstrcatA(char *to, const char *from) { return to && from ? strcat(to, from) : NULL; }
LOCAL wchar_t *crt_lstrcpyW(wchar_t *to, const wchar_t *from) { return to && from ? wcscpy(to, from) : NULL; }
LOCAL wchar_t *crt_lstrcpynW(wchar_t *to, const wchar_t *from, int size)
{
    if (!to || !from || size <= 0)
        return NULL;
    crt_StringCchCopyW(to, (size_t)size, from);
    return to;
}
LOCAL wchar_t *crt_lstrcatW(wchar_t *to, const wchar_t *from) { return to && from ? wcscat(to, from) : NULL; }
LOCAL int crt_lstrcmpW(const wchar_t *a, const wchar_t *b) { return wcscmp(a, b); }
LOCAL int crt_lstrcmpiW(const wchar_t *a, const wchar_t *b) { return wcscasecmp(a, b); }
LOCAL int crt_lstrcmpA(const char *a, const char *b) { return strcmp(a, b); }
LOCAL int crt_lstrcmpiA(const char *a, const char *b) { return strcasecmp(a, b); }

/* Narrow and wide text go to one stream here, so all of it is narrow for the C library. */
LOCAL int crt_fputws(const wchar_t *text, FILE *stream)
{
    char *bytes = narrow(text);
    int result = bytes ? fputs(bytes, stream) : EOF;
    free(bytes);
    return result;
}
LOCAL wint_t crt_putwchar(wchar_t character)
{
    char bytes[4];
    size_t length = put_utf8(bytes, (uint32_t)character);
    return fwrite(bytes, 1, length, stdout) == length ? (wint_t)character : WEOF;
}
LOCAL int crt__putws(const wchar_t *text)
{
    int result = crt_fputws(text, stdout);
    return result == EOF ? result : fputc('\n', stdout);
}
static wint_t get_utf8(FILE *stream)
{
    int first = fgetc(stream);
    if (first == EOF)
        return WEOF;
    int more = first < 0xc2 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : first < 0xf5 ? 3 : 0;
    if (!more)
        return first < 0x80 ? (wint_t)first : 0xfffd;
    wint_t character = (wint_t)first & (0x3fu >> more);
    while (more--) {
        int next = fgetc(stream);
        if ((next & 0xc0) != 0x80) {
            ungetc(next, stream);
            return 0xfffd;
        }
        character = character << 6 | ((wint_t)next & 0x3f);
    }
    return character;
}
LOCAL wint_t crt_getwchar(void) { return get_utf8(stdin); }
LOCAL wchar_t *crt_fgetws(wchar_t *to, int size, FILE *stream)
{
    int length = 0;
    while (length + 1 < size) {
        wint_t character = get_utf8(stream);
        if (character == WEOF)
            break;
        to[length++] = (wchar_t)character;
        if (character == '\n')
            break;
    }
    if (size <= 0 || (length == 0 && size > 1))
        return NULL;
    to[length] = 0;
    return to;
}

/* --- Files, time, environment -------------------------------------------------------------------------------------------------- */

LOCAL int crt_fopen_s(FILE **stream, const char *name, const char *mode)
{
    char plain[16];
    size_t length = 0;
    if (!stream)
        return EINVAL;
    *stream = NULL;
    if (!name || !mode)
        return EINVAL;
    for (const char *at = mode; *at && *at != ',' && length + 1 < sizeof plain; at++)
        if (!strchr(" tScnRTD", *at))
            plain[length++] = *at;
    plain[length] = 0;
    *stream = fopen(name, plain);
    return *stream ? 0 : errno;
}
LOCAL int crt__wfopen_s(FILE **stream, const wchar_t *name, const wchar_t *mode)
{
    char *path = name ? narrow(name) : NULL, *how = mode ? narrow(mode) : NULL;
    int result = crt_fopen_s(stream, path, how);
    free(path);
    free(how);
    return result;
}
LOCAL FILE *crt__wfopen(const wchar_t *name, const wchar_t *mode)
{
    FILE *stream = NULL;
    int error = crt__wfopen_s(&stream, name, mode);
    if (error)
        errno = error;
    return stream;
}
LOCAL FILE *crt__fsopen(const char *name, const char *mode, int share)
{
    FILE *stream;
    (void)share;
    crt_fopen_s(&stream, name, mode);
    return stream;
}
LOCAL int crt__flushall(void) { return fflush(NULL); }
LOCAL int crt_localtime_s(struct tm *result, const time_t *time) { return result && time && localtime_r(time, result) ? 0 : EINVAL; }
LOCAL int crt_gmtime_s(struct tm *result, const time_t *time) { return result && time && gmtime_r(time, result) ? 0 : EINVAL; }
LOCAL int crt_ctime_s(char *buffer, size_t size, const time_t *time)
{
    if (!buffer || size < 26 || !time)
        return EINVAL;
    return ctime_r(time, buffer) ? 0 : EINVAL;
}
LOCAL int crt_asctime_s(char *buffer, size_t size, const struct tm *time)
{
    if (!buffer || size < 26 || !time)
        return EINVAL;
    return asctime_r(time, buffer) ? 0 : EINVAL;
}
LOCAL int crt_rand_s(unsigned *value) { return value && getrandom(value, sizeof *value, 0) == sizeof *value ? 0 : EINVAL; }
LOCAL int crt_getenv_s(size_t *length, char *buffer, size_t size, const char *name)
{
    const char *value = name ? getenv(name) : NULL;
    if (!length || !name)
        return EINVAL;
    *length = value ? strlen(value) + 1 : 0;
    if (buffer && size)
        buffer[0] = 0;
    if (!value || !buffer)
        return 0;
    return *length > size ? ERANGE : crt_strcpy_s(buffer, size, value);
}
LOCAL int crt__dupenv_s(char **buffer, size_t *length, const char *name)
{
    const char *value = name ? getenv(name) : NULL;
    if (!buffer)
        return EINVAL;
    *buffer = value ? strdup(value) : NULL;
    if (length)
        *length = value ? strlen(value) + 1 : 0;
    return value && !*buffer ? ENOMEM : 0;
}
LOCAL int crt__putenv(const char *assignment)
{
    const char *equals = strchr(assignment, '=');
    char *name = equals ? strndup(assignment, (size_t)(equals - assignment)) : NULL;
    int result = !name ? -1 : equals[1] ? setenv(name, equals + 1, 1) : unsetenv(name);
    free(name);
    return result;
}
LOCAL void crt__sleep(unsigned milliseconds)
{
    struct timespec time = {milliseconds / 1000, (long)(milliseconds % 1000) * 1000000};
    while (nanosleep(&time, &time) && errno == EINTR)
        ;
}

/* --- `__try` and `__leave` in C: include/ovl/words.h --------------------------------------------------------------------------- */

struct ovl_try {
    char *frame;
    int line;
    long long state[64]; /* a jmp_buf */
};
enum { MOST_TRIES = 64 };
static _Thread_local struct {
    struct ovl_try tries[MOST_TRIES];
    int count;
} tries;

/* The stack grows downwards: what lies deeper than `frame` is of functions that have returned. */
static void forget_below(char *frame)
{
    while (tries.count > 0 && tries.tries[tries.count - 1].frame < frame)
        tries.count--;
}
LOCAL struct ovl_try *crt_try_begin(char *frame, int line)
{
    forget_below(frame);
    /* One of the same place and later is there because its body was left by `break` or `goto`. */
    for (int i = tries.count; i > 0 && tries.tries[i - 1].frame == frame; i--)
        if (tries.tries[i - 1].line >= line)
            tries.count = i - 1;
    if (tries.count == MOST_TRIES) {
        fputs("overlapped-win32: too many __try inside one another\n", stderr);
        abort();
    }
    struct ovl_try *entry = &tries.tries[tries.count++];
    entry->frame = frame;
    entry->line = line;
    return entry;
}
LOCAL struct ovl_try *crt_try_here(char *frame)
{
    forget_below(frame);
    if (tries.count == 0 || tries.tries[tries.count - 1].frame != frame) {
        fputs("overlapped-win32: __leave outside of __try\n", stderr);
        abort();
    }
    return &tries.tries[tries.count - 1];
}
LOCAL void crt_try_end(char *frame)
{
    forget_below(frame);
    if (tries.count > 0 && tries.tries[tries.count - 1].frame == frame)
        tries.count--;
}
