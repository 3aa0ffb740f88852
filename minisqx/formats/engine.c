#if INT_MAX < 2147483647
#error "net.c needs an int of 32 bits"
#endif

/* e^z = 2^n (1 + q) for z <= 0: returns q = e^r - 1 and sets *power = 2^n, where z = n ln 2 + r and |r| <= ln 2 / 2.
   q is the Taylor polynomial of degree 7, whose remainder is below the rounding error. */
static inline float exponential(float z, float *power)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: added to a number, it rounds it to an integer, which the low bits hold */
    union { float number; uint32_t bits; } shifted, scale;
    const float clamped = z > -87.0f ? z : -87.0f;
    shifted.number = clamped * 1.44269504f + magic;
    const float n = shifted.number - magic;
    const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
    float q = 1.98412698e-4f;
    q = q * r + 1.38888889e-3f;
    q = q * r + 8.33333333e-3f;
    q = q * r + 4.16666667e-2f;
    q = q * r + 1.66666667e-1f;
    q = q * r + 0.5f;
    scale.bits = (shifted.bits << 23) + 0x3f800000u;
    *power = scale.number;
    return (r * r) * q + r;
}

/* z where z > 0, else e^z - 1. */
static inline float elu(float z)
{
    float power;
    const float q = exponential(z < 0.0f ? z : 0.0f, &power);
    const float negative = power * q + (power - 1.0f);
    return negative > z ? negative : z; /* e^z - 1 >= z: the larger one is right on both sides of 0 */
}

static void activate(float *values, int count, enum activation activation)
{
    if (activation == ELU)
        for (int p = 0; p < count; p++) values[p] = elu(values[p]);
    else if (activation == RELU)
        for (int p = 0; p < count; p++) values[p] = values[p] < 0.0f ? 0.0f : values[p];
}

/* Two rows of the output, and four of the input: both += weight * x. The weights of the next input row are `step` further. */
static void add_four_to_two(float *restrict y, int y_stride, const float *restrict x, int x_stride, const float *weight, int step,
                            int count)
{
    const float a0 = weight[0], a1 = weight[step], a2 = weight[2 * step], a3 = weight[3 * step];
    const float b0 = weight[1], b1 = weight[step + 1], b2 = weight[2 * step + 1], b3 = weight[3 * step + 1];
    const float *x1 = x + x_stride, *x2 = x1 + x_stride, *x3 = x2 + x_stride;
    float *restrict z = y + y_stride;
    for (int p = 0; p < count; p++) {
        y[p] = y[p] + a0 * x[p] + a1 * x1[p] + a2 * x2[p] + a3 * x3[p];
        z[p] = z[p] + b0 * x[p] + b1 * x1[p] + b2 * x2[p] + b3 * x3[p];
    }
}

static void add_four_to_one(float *restrict y, const float *restrict x, int x_stride, const float *weight, int step, int count)
{
    const float a0 = weight[0], a1 = weight[step], a2 = weight[2 * step], a3 = weight[3 * step];
    const float *x1 = x + x_stride, *x2 = x1 + x_stride, *x3 = x2 + x_stride;
    for (int p = 0; p < count; p++) y[p] = y[p] + a0 * x[p] + a1 * x1[p] + a2 * x2[p] + a3 * x3[p];
}

static void add_one_to_one(float *restrict y, const float *restrict x, float weight, int count)
{
    for (int p = 0; p < count; p++) y[p] = y[p] + weight * x[p];
}

/* Rows `first` to `last` of the output's map: of each pixel the input's pixel under tap (i, j) of the kernel, or 0 beyond the
   map. x: one channel of the input. */
static void gather(float *restrict out, const float *restrict x, const layer *l, int i, int j, int first, int last)
{
    const int shift = j - l->padding_width, stride = l->stride_width, width = l->out_width;
    const int begin = shift < 0 ? (-shift + stride - 1) / stride : 0;
    const int inside = l->in_width - 1 - shift < 0 ? 0 : (l->in_width - 1 - shift) / stride + 1;
    const int end = inside < width ? inside : width;
    for (int row = first; row < last; row++, out += width) {
        const int from = row * l->stride_height + i - l->padding_height;
        if (from < 0 || from >= l->in_height) {
            for (int column = 0; column < width; column++) out[column] = 0.0f;
            continue;
        }
        const float *in = x + from * l->in_width;
        for (int column = 0; column < begin; column++) out[column] = 0.0f;
        if (stride == 1)
            for (int column = begin; column < end; column++) out[column] = in[column + shift];
        else
            for (int column = begin; column < end; column++) out[column] = in[column * stride + shift];
        for (int column = end; column < width; column++) out[column] = 0.0f;
    }
}

/* A convolution as a matrix product, its activation, and its batch norm as a scale and a shift. weight: (depth, channels), where
   the depth counts the input's channels and in each the taps of the kernel. `rows` holds four rows of the input. */
static void convolve(const layer *l, float *memory, float *rows)
{
    const float *in = memory + l->in_at;
    float *out = memory + l->out_at;
    const int taps = l->kernel_height * l->kernel_width, depth = l->in_channels * taps, channels = l->out_channels;
    const int in_pixels = l->in_height * l->in_width, pixels = l->out_height * l->out_width;
    const int is_plain = taps == 1 && in_pixels == pixels;
    const int at_once = BLOCK / l->out_width;
    for (int first = 0; first < l->out_height; first += at_once) {
        const int last = first + at_once < l->out_height ? first + at_once : l->out_height;
        const int count = (last - first) * l->out_width;
        float *block = out + first * l->out_width;
        for (int m = 0; m < channels; m++)
            for (int p = 0; p < count; p++) block[m * pixels + p] = l->bias[m];
        for (int k = 0; k < depth; k += 4) {
            const int many = depth - k < 4 ? depth - k : 4;
            const float *x = is_plain ? in + k * in_pixels + first * l->out_width : rows;
            const int stride = is_plain ? in_pixels : BLOCK;
            const float *weight = l->weight + k * channels;
            if (!is_plain)
                for (int m = 0; m < many; m++) {
                    const int tap = (k + m) % taps;
                    const float *map = in + (k + m) / taps * in_pixels;
                    gather(rows + m * BLOCK, map, l, tap / l->kernel_width, tap % l->kernel_width, first, last);
                }
            if (many == 4) {
                for (int m = 0; m + 1 < channels; m += 2)
                    add_four_to_two(block + m * pixels, pixels, x, stride, weight + m, channels, count);
                if (channels % 2 == 1)
                    add_four_to_one(block + (channels - 1) * pixels, x, stride, weight + channels - 1, channels, count);
            } else
                for (int m = 0; m < channels; m++)
                    for (int p = 0; p < many; p++)
                        add_one_to_one(block + m * pixels, x + p * stride, weight[p * channels + m], count);
        }
        for (int m = 0; m < channels; m++) {
            float *y = block + m * pixels;
            if (m < l->activated) activate(y, count, l->activation);
            if (l->scale)
                for (int p = 0; p < count; p++) y[p] = y[p] * l->scale[m] + l->shift[m];
        }
    }
}

/* The sum of two tensors, and its activation. Of the other tensor, every other pixel of every other row if its map is larger. */
static void add(const layer *l, float *memory)
{
    const int step = l->in_width > l->out_width || l->in_height > l->out_height ? 2 : 1;
    const int pixels = l->out_height * l->out_width;
    for (int m = 0; m < l->out_channels; m++) {
        const float *restrict x = memory + l->in_at + m * pixels;
        const float *restrict other = memory + l->other_at + m * l->in_height * l->in_width;
        float *restrict out = memory + l->out_at + m * pixels;
        for (int row = 0; row < l->out_height; row++) {
            const int at = row * l->out_width, from = row * step * l->in_width;
            if (step == 1)
                for (int column = 0; column < l->out_width; column++) out[at + column] = x[at + column] + other[from + column];
            else
                for (int column = 0; column < l->out_width; column++) out[at + column] = x[at + column] + other[from + 2 * column];
        }
        activate(out, pixels, l->activation);
    }
}

/* The maximum of each window; at the lower and right edges a window may reach beyond the map. */
static void pool(const layer *l, float *memory)
{
    float *out = memory + l->out_at;
    for (int m = 0; m < l->out_channels; m++) {
        const float *x = memory + l->in_at + m * l->in_height * l->in_width;
        for (int row = 0; row < l->out_height; row++)
            for (int column = 0; column < l->out_width; column++) {
                const int top = row * l->stride_height, left = column * l->stride_width;
                const int height = l->in_height - top < l->kernel_height ? l->in_height - top : l->kernel_height;
                const int width = l->in_width - left < l->kernel_width ? l->in_width - left : l->kernel_width;
                float largest = x[top * l->in_width + left];
                for (int i = 0; i < height; i++)
                    for (int j = 0; j < width; j++) {
                        const float value = x[(top + i) * l->in_width + left + j];
                        largest = value > largest ? value : largest;
                    }
                *out++ = largest;
            }
    }
}

/* The mean of each channel over the last map. */
static void average(const layer *last, const float *memory, float *features)
{
    const int pixels = last->out_height * last->out_width;
    for (int m = 0; m < last->out_channels; m++) {
        const float *x = memory + last->out_at + m * pixels;
        float sum = 0.0f;
        for (int p = 0; p < pixels; p++) sum += x[p];
        features[m] = sum / (float)pixels;
    }
}

#if FEATURES > 0
/* The fully connected layer. weight: (FEATURES, classes). */
static void classify(const float *features, float *restrict logits)
{
    for (int j = 0; j < NET_CLASSES; j++) logits[j] = classifier_bias[j];
    for (int k = 0; k < FEATURES; k++)
        for (int j = 0; j < NET_CLASSES; j++) logits[j] = logits[j] + features[k] * classifier_weight[k * NET_CLASSES + j];
}
#endif

static void softmax(float *values)
{
    float largest = values[0], sum = 0.0f, power;
    for (int j = 1; j < NET_CLASSES; j++) largest = values[j] > largest ? values[j] : largest;
    for (int j = 0; j < NET_CLASSES; j++) {
        const float q = exponential(values[j] - largest, &power);
        values[j] = power * q + power;
        sum += values[j];
    }
    for (int j = 0; j < NET_CLASSES; j++) values[j] /= sum;
}

static void run(const uint8_t *rgb, float *logits, float *memory)
{
    const int pixels = NET_HEIGHT * NET_WIDTH, steps = (int)(sizeof layers / sizeof layers[0]);
    for (int colour = 0; colour < 3; colour++)
        for (int p = 0; p < pixels; p++) memory[colour * pixels + p] = input_values[colour][rgb[3 * p + colour]];
    for (int s = 0; s < steps; s++) {
        const layer *l = &layers[s];
        switch (l->kind) {
        case CONVOLUTION: convolve(l, memory, memory + ROWS_AT); break;
        case SUM: add(l, memory); break;
        case MAX_POOL: pool(l, memory); break;
        }
    }
#if FEATURES > 0
    average(&layers[steps - 1], memory, memory + FEATURES_AT);
    classify(memory + FEATURES_AT, logits);
#else
    average(&layers[steps - 1], memory, logits);
#endif
}
