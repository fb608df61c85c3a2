/** Under which transfers are written down in the SDK's store. */
export const recordPrefix = 'app/transfer/';
